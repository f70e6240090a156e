// In place of the theme's file of this name, 1.5 MB: the icons of the book come from the theme's font.

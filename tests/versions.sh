#!/usr/bin/env bash
# Install the wheel in environments of their own; use it, and then run a part of the tests with it:
#
#   tests/versions.sh lowest                 # the oldest versions that pyproject.toml allows
#   tests/versions.sh newest python3.13      # the newest that there are
#   tests/versions.sh lowest python3.11 tests/model  # other tests than the usual part
#
# Each environment takes about 7 GB, most of it PyTorch, and stays for the next time. They lie in
# the folder $VERSIONS, by default /tmp/labkit-versions. The last line is a row of the table in
# book/how-labkit-is-built.md.
set -euo pipefail
cd "$(dirname "$0")/.."

which=${1:?lowest or newest}
python=${2:-python3.11}
folder=${VERSIONS:-/tmp/labkit-versions}
part=("${@:3}")
if [ ${#part[@]} -eq 0 ]; then
  part=(
    tests/model/test_{decoder,checkpoint,captioner,generation}.py
    tests/data/test_{photos,readers,scenes,vocabulary}.py tests/store/test_{shards,export}.py
    tests/training/test_{config,trainer}.py tests/cli/test_{console,cli}.py
    tests/figures/test_strips.py tests/test_docstrings.py
  )
fi

case $which in
  lowest) resolution=lowest-direct ;;
  newest) resolution=highest ;;
  *) echo "$which: choose lowest or newest" >&2; exit 2 ;;
esac
name=$which-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
env=$folder/$name
mkdir -p "$folder"

if [ ! -x "$folder/uv/bin/uv" ]; then
  "$python" -m venv "$folder/uv"
  "$folder/uv/bin/python" -m pip install --quiet uv
fi
uv=$folder/uv/bin/uv
export UV_CACHE_DIR=$folder/cache UV_LINK_MODE=hardlink  # on the same disk: files are linked, not copied

# The wheel, and the tests beside it: nothing of labkit can come from this folder.
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cp -r labkit tests labs benchmarks pyproject.toml README.md LICENSE "$place"
"$uv" build --quiet --wheel --out-dir "$place/wheel" "$place"
rm -r "$place/labkit"

# First as a user has it: the wheel and what it asks for, nothing else, from another folder.
export OMP_NUM_THREADS=1
"$uv" venv --quiet --clear --python "$python" "$env"
"$uv" pip install --quiet --python "$env/bin/python" --resolution "$resolution" \
  --requirements pyproject.toml
"$uv" pip install --quiet --python "$env/bin/python" --no-deps "$place"/wheel/*.whl
cd "$place"
"$env/bin/python" -c '
from PIL import Image
from labkit import make_scenes
Image.fromarray(make_scenes(1)[0].image).save("scene.png")'
"$env/bin/labkit" doctor
"$env/bin/labkit" caption scenes-soft scene.png
"$env/bin/labkit" caption flickr8k-soft "${PHOTO:-scene.png}"  # a photograph, if one is named
"$env/bin/labkit" demo --count 200

"$uv" pip install --quiet --python "$env/bin/python" --resolution "$resolution" --upgrade \
  --requirements pyproject.toml --extra tests
result=passed
"$env/bin/pytest" -q -p no:cacheprovider "${part[@]}" || result=FAILED
"$env/bin/python" - "$which" "$result" <<'SAY'
import datetime, platform, sys
from importlib.metadata import version

import labkit

assert "site-packages" in labkit.__file__, labkit.__file__
libraries = [version(name) for name in ("torch", "torchvision", "numpy", "pillow", "pydantic")]
day = datetime.date.today().isoformat()
print("|", " | ".join([sys.argv[1], platform.python_version(), *libraries, sys.argv[2], day]), "|")
SAY
[ $result = passed ]

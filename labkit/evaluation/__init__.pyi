# The public names and where they live: read by labkit when it is imported, and by type checkers.

from .attention_maps import agreement as agreement
from .attention_maps import map_scores as map_scores
from .evaluate import Evaluation as Evaluation
from .evaluate import evaluate_model as evaluate_model
from .human_judgements import agreement_with_people as agreement_with_people
from .human_judgements import read_judgements as read_judgements
from .interventions import Estimate as Estimate
from .interventions import Intervened as Intervened
from .interventions import estimate as estimate
from .interventions import teacher_force as teacher_force
from .metrics import Scores as Scores
from .metrics import score as score
from .metrics import score_each as score_each
from .people import score_in_turn as score_in_turn
from .people import score_people as score_people
from .results import read_references as read_references
from .results import read_results as read_results
from .results import score_file as score_file
from .results import write_results as write_results

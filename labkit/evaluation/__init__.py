"""Scores of captions and of attention.

Metrics against references, the pointing game, statistics of attention maps, human judgements; and
interventions, which ask where a word came from.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "metrics": ["Scores", "score", "score_each"],
        "evaluate": ["Evaluation", "evaluate_model"],
        "people": ["score_in_turn", "score_people"],
        "results": ["read_references", "read_results", "score_file", "write_results"],
        "attention_maps": ["agreement", "map_scores"],
        "interventions": ["Estimate", "Intervened", "estimate", "teacher_force"],
        "human_judgements": ["agreement_with_people", "read_judgements"],
    },
)

"""How many captions change when they are generated in bf16, and what the scores say.

    python benchmarks/short_numbers.py --photos FOLDER_OF_FLICKR8K

For each model that comes with the package: its own way of captioning, in float32 and in bf16
(torch's autocast), on 500 drawn scenes of the split "test" or on 1,000 photographs of Flickr8k's
split "dev". The features are the same for both, in float32.
"""

import argparse
import time

import torch

from labkit import Captioner, DataReport, list_pretrained, make_scenes, read_flickr8k, score
from labkit.features.encoder import encode
from labkit.model.generation import generate

BATCH = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", help="folder of Flickr8k; without it, only scenes")
    parser.add_argument("--images", type=int, default=1000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    features: dict[str, torch.Tensor] = {}
    print(f"{'model':16}{'changed':>9}{'CPU':>7}{'BLEU-4':>18}{'METEOR':>18}{'CIDEr':>18}")
    for name in list_pretrained():
        scenes = name.startswith("scenes")
        if not scenes and not args.photos:
            continue
        captioner = Captioner.from_pretrained(name)
        records = make_scenes(500, split="test") if scenes else read_flickr8k(args.photos, ["dev"])
        records = [one for one in records if one.captions][: args.images]
        kind = "scenes" if scenes else "photographs"
        if kind not in features:
            found = encode(records, captioner.encoder, DataReport(), progress=False)
            features[kind] = torch.stack([torch.from_numpy(one[1]).float() for one in found])
        texts, seconds, scores = [], [], []
        for bf16 in (False, True):
            begin, captions = time.process_time(), []
            for a in features[kind].split(BATCH):
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    captions += generate(captioner.decoder, a, captioner.generation)
            seconds.append(time.process_time() - begin)
            texts.append({
                record.id: captioner.vocabulary.decode(one.words)
                for record, one in zip(records, captions, strict=True)
            })  # fmt: skip
            scores.append(score({one.id: one.captions for one in records}, texts[-1]))
        changed = sum(texts[0][key] != texts[1][key] for key in texts[0])
        pairs = (f"{getattr(scores[0], key):.3f} {getattr(scores[1], key):.3f}"
                 for key in ("bleu4", "meteor", "cider"))  # fmt: skip
        print(f"{name:16}{changed:4} /{len(records):4}{seconds[1] / seconds[0]:7.2f}"
              + "".join(f"{pair:>18}" for pair in pairs), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

"""Is a store on disk still what was written? Every byte is read and compared."""

from pathlib import Path

from tqdm import tqdm

from labkit.files import sha256
from labkit.shards import FeatureStore, StoreError, splits


def verify(root: Path | str, progress: bool = True) -> None:
    """Read every byte of a store and compare it with the manifest; `progress` shows a bar.

    It raises as `FeatureStore` does at the first fault, naming the file and the image.
    """
    for store in [FeatureStore(root, split) for split in splits(root)]:  # checks the records too
        shards = tqdm(store.shards, desc=f"verify {store.split}", unit="file", disable=not progress)
        for shard, start in zip(shards, store.starts, strict=False):
            path = store.root / shard["name"]
            if sha256(path) != shard["sha256"]:
                for index in range(start, start + shard["count"]):
                    store.read([index])  # names the image that is wrong
                raise StoreError(f"{path}: its header is wrong: restore the file")

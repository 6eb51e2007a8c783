"""What a source says about the label of an image: the word of a list, or else the class folder that it lies in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from malaria_kedro.language import N_
from malaria_kedro.names import CLASSES, PARASITIZED, UNINFECTED, printable

# In lower case: what lists of cells call the two classes.
WORDS = {
    **dict.fromkeys(("parasitized", "parasitised", "infected", "positive", "1"), PARASITIZED),
    **dict.fromkeys(("uninfected", "healthy", "negative", "0"), UNINFECTED),
}
FOLDERS = {"parasitized": PARASITIZED, "parasitised": PARASITIZED, "uninfected": UNINFECTED}
MOST_NAMED = 5


@lru_cache(maxsize=4096)  # a folder holds many images
def label_of_folder(folder: str) -> str | None:
    """Return the class whose name, in any case, the last such folder on a path has; None = there is none."""
    parts = reversed(folder.replace("\\", "/").lower().split("/"))
    return next((FOLDERS[part] for part in parts if part in FOLDERS), None)


class Labels:
    """The labels of one source, with a count of what was assumed about them.

    Args:
        folder: where the source's names start.
        classes: what a column of numbers counts, in order; without them 1 is parasitized and 0 is not.
    """

    def __init__(self, folder: str, classes: Sequence[str] = ()) -> None:
        self._folder = label_of_folder(folder)
        self._numbers = {str(number): name for number, name in enumerate(classes)}
        self._taken: Counter[tuple[str, str]] = Counter()
        self._unknown_words: dict[str, None] = {}  # the first of them, for there may be one a row
        self._of_folders = self._of_lists = self._without = self._unknown = self._contradicted = 0

    def of(self, name: str, said: str | None = None) -> str | None:
        """Return the label of an image; ``said`` is what the list says of it, None where it has no such column."""
        folder = label_of_folder(name.replace("\\", "/").rpartition("/")[0]) or self._folder
        if said is None:
            self._of_folders += folder is not None
            self._without += folder is None
            return folder
        word = said.strip().removesuffix(".0")
        word = self._numbers.get(word, word)
        found = WORDS.get(word.lower())
        self._of_lists += found is not None
        self._without += found is None
        if found is None and word:
            self._unknown += 1
            if len(self._unknown_words) < MOST_NAMED:
                self._unknown_words[word] = None
        elif found is not None and word not in CLASSES:
            self._taken[word, found] += 1
        self._contradicted += None not in (found, folder) and found != folder
        return found

    def remarks(self, source: object) -> list[str]:
        """Say how labels were read, and what was assumed; nothing where there is none."""
        said = []
        if self._of_folders:
            said.append(N_("{images} with the label of their class folder").format(images=_images(self._of_folders)))
        if self._of_lists:
            said.append(N_("{images} with the label of the list").format(images=_images(self._of_lists)))
        taken = N_("label {word} is taken for {label} ({images})")
        said += [
            taken.format(word=repr(word), label=label, images=_images(count))
            for (word, label), count in self._taken.items()
        ]
        if self._unknown:
            some = ", ".join(repr(printable(word)) for word in self._unknown_words)
            none = N_("{images} with a label that is neither Parasitized nor Uninfected, taken as none: {words}")
            more = ", …" if len(self._unknown_words) == MOST_NAMED else ""
            said.append(none.format(images=_images(self._unknown), words=some + more))
        if self._contradicted:
            said.append(
                N_("{images} in the folder of the other class: the list counts").format(
                    images=_images(self._contradicted)
                )
            )
        if said and self._without:
            said.append(N_("{images} without a label").format(images=_images(self._without)))
        return [f"{source}: {sentence}" for sentence in said]


def _images(count: int) -> str:
    return (N_("{n} image") if count == 1 else N_("{n} images")).format(n=f"{count:,}")

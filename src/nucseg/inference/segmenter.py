"""From an image to its nuclei: the one path that every front end takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from nucseg.config import INSTANCE_MAPS, Segmenting, Watershed
from nucseg.errors import InputError, ModelError
from nucseg.inference.filters import kept_nuclei
from nucseg.inference.instances import label_image
from nucseg.inference.runtimes import Runtime, load_runtime
from nucseg.inference.scores import expected_iou, mean_scores, nucleus_features
from nucseg.inference.tiling import MARGIN, Stitcher, tiles, window_size
from nucseg.inference.turns import mean_over_turns
from nucseg.measure import measure
from nucseg.models.zoo import DEFAULT_MODEL, ModelCard, find_model, read_card
from nucseg.preprocess import FloatImage, prepare, prepared_limits, resize_image

# The encoder halves an image five times.
_STRIDE = 32


@dataclass(frozen=True)
class Segmentation:
    """The nuclei of an image.

    Attributes
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
        What was segmented.
    labels : ndarray, shape (H, W), uint16, or uint32 where there are more than 65,535 nuclei
        0 background, 1…N nuclei.
    scores : ndarray, shape (N,), float32, in [0, 1]
        How sure the model is of each nucleus.
    probability : ndarray, shape (H, W), float32, in [0, 1]
        Of each pixel to lie in a nucleus.
    pixel_size : tuple of float or None
        Micrometres from pixel to pixel along rows and columns, where known.
    """

    image: npt.NDArray[Any]
    labels: npt.NDArray[np.unsignedinteger[Any]]
    scores: FloatImage
    probability: FloatImage
    pixel_size: tuple[float, float] | None = None

    @property
    def count(self) -> int:
        """Number of nuclei."""
        return len(self.scores)

    def measurements(self) -> dict[str, npt.NDArray[Any]]:
        """Measure each nucleus: columns of a table, one row per nucleus; see `measure`."""
        return measure(self.labels, self.image, scores=self.scores, pixel_size=self.pixel_size)

    def save(
        self,
        folder: str | Path,
        *,
        name: str = "image",
        formats: Sequence[str] = Segmenting().save,
    ) -> list[Path]:
        """Write the nuclei to files, each whole or not at all.

        Parameters
        ----------
        folder : str or Path
            Made where it is missing. Files of the same name in it are replaced.
        name : str
            Name of the image, without suffix.
        formats : sequence of str
            Formats to write, of `nucseg.export.FORMATS`.

        Returns
        -------
        list of Path
            The written files: one per format, and ``measurements.csv``.

        Raises
        ------
        InputError
            There is no such format, or the folder cannot be written.
        """
        from nucseg.export import save_formats
        from nucseg.export.tables import write_table

        table = Path(folder) / "measurements.csv"
        written = save_formats(self, Path(folder), name, formats)
        write_table(table, [{"image": [name] * self.count, **self.measurements()}])
        return [*written, table]


@dataclass(frozen=True)
class Model:
    """A model that is ready to segment.

    Attributes
    ----------
    card : ModelCard
        What the model is and how its input and output are treated.
    runtime : Runtime
        What runs its network.
    window : int
        Largest side of what is segmented at once, in pixels, a multiple of 32. Larger images are
        cut into overlapping windows, see `nucseg.inference.tiling`.
    """

    card: ModelCard
    runtime: Runtime
    window: int = window_size(Segmenting().max_memory)

    def with_postprocessing(self, **changes: Any) -> Model:
        """Return the same model with other settings of its step from maps to nuclei.

        Parameters
        ----------
        **changes
            Settings of `ConnectedComponents` or of `Watershed`, whichever the model uses.

        Raises
        ------
        InputError
            The model's method has no such setting, or its value is out of bounds.
        """
        before = self.card.postprocessing
        for name in changes:
            if name not in type(before).model_fields:
                known = ", ".join(sorted(type(before).model_fields.keys() - {"method"}))
                raise InputError(
                    f"The model {self.card.name} finds nuclei by {before.method}, which has no "
                    f"setting {name}. Change any of {known}."
                )
        try:
            settings = type(before).model_validate({**before.model_dump(), **changes})
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(
                f"Unusable setting {'.'.join(map(str, first['loc']))}: {first['msg']}, "
                f"got {first['input']!r}."
            ) from error
        return replace(self, card=self.card.model_copy(update={"postprocessing": settings}))

    def with_tta(self) -> Model:
        """Return the same model with test-time augmentation.

        It runs its network on the image as it lies, turned and mirrored, and averages the maps:
        eight times slower.
        """
        return replace(self, card=self.card.model_copy(update={"tta": True}))

    def network_maps(self, image: npt.NDArray[Any]) -> FloatImage:
        """Run the network on an image, at the size that it works at.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, C), any real dtype

        Returns
        -------
        ndarray, shape (height, width, M), float32, in [0, 1]
            One map for each name in ``card.network.outputs``, the probability of nucleus first.

        Raises
        ------
        InputError
            The array is no image of finite real numbers.
        ModelError
            The network does not give what the model's description says.
        """
        return self._maps(prepare(image, self.card.preprocessing))

    def _maps(self, prepared: FloatImage) -> FloatImage:
        if self.card.tta:
            return mean_over_turns(self._run, prepared, self.card.network.outputs)
        return self._run(prepared)

    def _run(self, prepared: FloatImage) -> FloatImage:
        """Run the network on a prepared image of any size."""
        height, width = prepared.shape[:2]
        below, right = -height % _STRIDE, -width % _STRIDE
        padded = cv2.copyMakeBorder(prepared, 0, below, 0, right, cv2.BORDER_REPLICATE)
        maps = self.runtime(np.asarray(padded, np.float32)[None])
        expected = (1, *padded.shape[:2], len(self.card.network.outputs))
        if maps.shape != expected:
            raise ModelError(
                f"The network of {self.card.name} gave maps of shape {maps.shape}, expected "
                f"{expected} from its description. Export the model again."
            )
        return maps[0, :height, :width]

    def network_probability(self, image: npt.NDArray[Any]) -> FloatImage:
        """Probability of each pixel to lie in a nucleus, at the size that the network works at.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, C), any real dtype

        Returns
        -------
        ndarray, shape (height, width), float32, in [0, 1]

        Raises
        ------
        InputError, ModelError
            As `network_maps`.
        """
        return self.network_maps(image)[..., 0]

    def probability(self, image: npt.NDArray[Any]) -> FloatImage:
        """Probability of each pixel to lie in a nucleus, at the size of the image.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, C), any real dtype

        Returns
        -------
        ndarray, shape (H, W), float32, in [0, 1]

        Raises
        ------
        InputError, ModelError
            As `network_maps`.
        """
        small = self.network_probability(image)
        return resize_image(small, (image.shape[0], image.shape[1]))

    def segment(
        self, image: npt.NDArray[Any], *, pixel_size: tuple[float, float] | None = None
    ) -> Segmentation:
        """Find the nuclei of an image.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, C), any real dtype
            Grey or colour, without or with alpha, in any range of intensities.
        pixel_size : tuple of float, optional
            Micrometres from pixel to pixel along rows and columns, for measurements.

        Returns
        -------
        Segmentation

        Raises
        ------
        InputError
            The array is no image of finite real numbers, or a pixel size is not above 0.
        ModelError
            The network does not give what the model's description says.
        """
        image = np.asarray(image)
        whole = self.card.preprocessing.size is not None or max(image.shape[:2]) <= self.window
        if whole:
            return self.nuclei(image, self.network_maps(image), pixel_size=pixel_size)
        labels, scores, probability = self._stitched(image)
        return self._segmentation(image, labels, scores, probability, pixel_size)

    def _stitched(
        self, image: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.int32], FloatImage, FloatImage]:
        """Find the nuclei of an image in windows: labels, their scores, and probability."""
        settings = self.card.preprocessing
        limits = prepared_limits(image, settings)
        shape = (image.shape[0], image.shape[1])
        labels, probability = np.zeros(shape, np.int32), np.empty(shape, np.float32)
        stitcher, scores = Stitcher(labels, shape), []
        for tile in tiles(shape, size=self.window, margin=MARGIN):
            maps = self._maps(prepare(image[tile.window], settings, limits=limits))
            seen, each = self._scored(maps)
            scores.append(each[stitcher.add(tile, seen) - 1])
            probability[tile.core] = maps[tile.core_in_window][..., 0]
        return labels, np.concatenate(scores), probability

    def _scored(self, maps: FloatImage) -> tuple[npt.NDArray[np.int32], FloatImage]:
        """From maps at the size of the image to its nuclei and their scores."""
        labels = label_image(maps, self.card.postprocessing)
        if self.card.scoring is None:
            return labels, mean_scores(labels, maps[..., 0])
        return labels, expected_iou(nucleus_features(labels, maps), self.card.scoring)

    def nuclei(
        self,
        image: npt.NDArray[Any],
        network_maps: FloatImage,
        *,
        pixel_size: tuple[float, float] | None = None,
    ) -> Segmentation:
        """Find the nuclei in what the network gave: the second half of `segment`.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, C), any real dtype
        network_maps : ndarray, shape (height, width, M), float32, in [0, 1]
            As `network_maps` gives them for this image.
        pixel_size : tuple of float, optional

        Raises
        ------
        InputError
            A pixel size is not above 0.
        """
        image = np.asarray(image)
        # Resizing drops the axis of a single map.
        size = (image.shape[0], image.shape[1])
        maps = resize_image(network_maps, size).reshape(*size, -1)
        labels, scores = self._scored(maps)
        probability = np.ascontiguousarray(maps[..., 0])
        return self._segmentation(image, labels, scores, probability, pixel_size)

    def _segmentation(
        self,
        image: npt.NDArray[Any],
        labels: npt.NDArray[np.int32],
        scores: FloatImage,
        probability: FloatImage,
        pixel_size: tuple[float, float] | None,
    ) -> Segmentation:
        if pixel_size is not None and not all(0 < each < np.inf for each in pixel_size):
            raise InputError(f"Expected a pixel size above 0 µm, got {pixel_size}.")
        labels, scores = kept_nuclei(labels, scores, self.card.postprocessing)
        dtype = np.uint16 if len(scores) <= np.iinfo(np.uint16).max else np.uint32
        return Segmentation(image, labels.astype(dtype), scores, probability, pixel_size)


def load_model(
    name: str | Path = DEFAULT_MODEL,
    *,
    threads: int | None = None,
    runtime: str = "onnx",
    max_memory: float = Segmenting().max_memory,
) -> Model:
    """Load a model.

    Parameters
    ----------
    name : str or Path
        Name of a bundled model, or a model folder such as one that ``nucseg train`` wrote.
    threads : int, optional
        Threads to run the network with; by default one for each physical core.
    runtime : {"onnx", "keras"}
        What runs the network; Keras needs the ``train`` extra.
    max_memory : float
        Memory to work in, in gigabytes; larger images are segmented in windows.

    Raises
    ------
    ModelError
        There is no such model, its files are missing, changed or broken, or its method needs maps
        that its network does not give.
    InputError
        There is no such runtime, fewer than one thread was asked for, or too little memory.
    MissingExtraError
        The runtime is not installed.
    """
    folder = find_model(name)
    card = read_card(folder)
    if isinstance(card.postprocessing, Watershed) and card.network.outputs != INSTANCE_MAPS:
        raise ModelError(
            f"The model {card.name} separates nuclei by watershed, which needs the maps "
            f"{', '.join(INSTANCE_MAPS)}, but its network gives {', '.join(card.network.outputs)}. "
            "Train it by the recipe instance, or give it the method connected-components."
        )
    window = window_size(max_memory)
    return Model(card, load_runtime(folder, runtime, threads=threads), window)


def segment(
    image: npt.NDArray[Any],
    model: str | Path | Model = DEFAULT_MODEL,
    *,
    pixel_size: tuple[float, float] | None = None,
) -> Segmentation:
    """Find the nuclei of one image; for many, load a model once and call its `segment`.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), any real dtype
    model : str, Path or Model
        A loaded model, or what `load_model` takes.
    pixel_size : tuple of float, optional
        Micrometres from pixel to pixel along rows and columns, for measurements.

    Returns
    -------
    Segmentation

    Raises
    ------
    InputError, ModelError
        As `load_model` and `Model.segment`.
    """
    loaded = model if isinstance(model, Model) else load_model(model)
    return loaded.segment(image, pixel_size=pixel_size)

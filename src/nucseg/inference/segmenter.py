"""From an image to its nuclei: the one path that every front end takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from nucseg.classes import Classifier
from nucseg.config import PIXEL_SIZES, Scaling, Segmenting
from nucseg.core.filters import kept_nuclei
from nucseg.core.segmented import Windowed
from nucseg.errors import InputError
from nucseg.images.colours import has_bright_background
from nucseg.images.outliers import SeenRange
from nucseg.images.preprocess import FloatImage, prepare, prepared_limits, resize_image
from nucseg.images.units import plausible
from nucseg.inference.confidence import Confidence, View, confidence
from nucseg.inference.finding import find, fits, maps_of, scores_of
from nucseg.inference.instances import label_image
from nucseg.inference.runtimes import Runtime
from nucseg.inference.scale_estimate import estimate_view
from nucseg.inference.scaling import scale_for
from nucseg.inference.segmentation import Segmentation
from nucseg.inference.tiling import (
    WINDOW,
    image_pixels,
)
from nucseg.models.zoo import ModelCard


@dataclass(frozen=True, repr=False)
class Model:
    """A model that is ready to segment.

    Attributes
    ----------
    card : ModelCard
        What the model is and how its input and output are treated.
    runtime : Runtime
        What runs its network.
    window : int
        Side of a square as large as what is segmented at once, in pixels, a multiple of 32.
        Larger images are cut into overlapping windows, see `nucseg.inference.tiling`. Labels
        depend on it, hence it is the same whatever the memory.
    scale : float or None
        Factor by which images are resized for the network. None estimates it for each image from
        the nuclei of a first look, where the card says what the network likes.
    image_pixels : int
        Pixels of the largest image that is held in memory; of larger ones the label image is in a
        file. Labels do not depend on it.
    view : View or None
        Where the scale comes from, if it was estimated or follows from a diameter.
    classifier : Classifier or None
        What gives each nucleus its class.
    bright : Model or None
        The model for images with a bright background, where this is for the others alone.
    """

    card: ModelCard
    runtime: Runtime
    window: int = WINDOW
    scale: float | None = None
    image_pixels: int = image_pixels(Segmenting().max_memory)
    view: View | None = None
    classifier: Classifier | None = None
    bright: Model | None = None

    def __repr__(self) -> str:
        """Say in a line which model this is; ``card`` has all of it."""
        return f"<Model {self.card.name}: {self.card.description}>"

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
        bright = self.bright and self.bright.with_postprocessing(**changes)
        card = self.card.model_copy(update={"postprocessing": settings})
        return replace(self, card=card, bright=bright)

    def with_tta(self) -> Model:
        """Return the same model with test-time augmentation.

        It runs its network on the image as it lies, turned and mirrored, and averages the maps:
        eight times slower.
        """
        bright = self.bright and self.bright.with_tta()
        return replace(self, card=self.card.model_copy(update={"tta": True}), bright=bright)

    def with_classes(self, classifier: Classifier | None) -> Model:
        """Return the same model, whose nuclei get classes.

        Parameters
        ----------
        classifier : Classifier or None
            As `nucseg.classes.load` gives it; None for none.
        """
        bright = self.bright and self.bright.with_classes(classifier)
        return replace(self, classifier=classifier, bright=bright)

    def on_one_thread(self) -> Model:
        """Return the same model, whose network runs on the calling thread alone."""
        bright = self.bright and self.bright.on_one_thread()
        return replace(self, runtime=self.runtime.on_one_thread(), bright=bright)

    def suited(self, image: npt.NDArray[Any]) -> Model:
        """Return the model for images of this kind, of a pair for dark and bright backgrounds.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, C), any real dtype

        Returns
        -------
        Model
            The model itself where it is for images of any kind.
        """
        if self.bright is None:
            return self
        return self._for_background(bright=has_bright_background(np.asarray(image)))

    def _for_background(self, *, bright: bool) -> Model:
        """Return the model for images with such a background."""
        if self.bright is None:
            return self
        return self.bright if bright else replace(self, bright=None)

    def with_diameter(self, diameter: float) -> Model:
        """Return the same model for images whose nuclei have this typical size.

        Parameters
        ----------
        diameter : float
            Median diameter in pixels.

        Raises
        ------
        InputError
            It is not above 0, or the model sees all images at one size.
        """
        if not 0 < diameter < np.inf:
            raise InputError(f"Expected a diameter above 0 pixels, got {diameter}.")
        if self.card.preprocessing.size is not None:
            raise InputError(
                f"The model {self.card.name} sees each image at {self.card.preprocessing.size}, "
                "whatever the diameter of its nuclei. Leave the diameter out."
            )
        scale = scale_for(diameter, self.card.scaling or Scaling())
        bright = self.bright and self.bright.with_diameter(diameter)
        view = View(scale, "diameter", diameter)
        return replace(self, scale=scale, view=view, bright=bright)

    def for_image(
        self,
        image: Windowed,
        *,
        limits: SeenRange | None = None,
        pixel_size: tuple[float, float] | None = None,
    ) -> Model:
        """Return the model for images of this kind with the scale that suits one.

        Parameters
        ----------
        image : Windowed, shape (H, W) or (H, W, C), any real dtype
        limits : (low, high), optional
            Of the image, see `nucseg.images.preprocess.prepared_limits`; needed where it is not in
            memory.
        pixel_size : tuple of float, optional
            Micrometres from pixel to pixel along rows and columns.

        Raises
        ------
        InputError, ModelError
            As `segment`.
        """
        if limits is None:
            limits = prepared_limits(np.asarray(image), self.card.preprocessing)
        model = self._for_background(bright=limits.bright)
        if model.scale is not None or model.card.scaling is None:
            return model.seen_in(limits)
        view, _ = estimate_view(model, image, limits, model.card.scaling, pixel_size=pixel_size)
        return replace(model, scale=view.scale, view=view)

    def network_maps(self, image: npt.NDArray[Any]) -> FloatImage:
        """Run the network on an image, at the size that it works at, without estimating a scale.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, C), any real dtype

        Returns
        -------
        ndarray, shape (height, width, M), float32, in [0, 1]
            One map for each name in ``card.outputs``, the probability of nucleus first.

        Raises
        ------
        InputError
            The array is no image of finite real numbers.
        ModelError
            The network does not give what the model's description says.
        """
        limits = prepared_limits(np.asarray(image), self.card.preprocessing)
        model = self._for_background(bright=limits.bright)
        return maps_of(model, prepare(image, model.card.preprocessing, limits=limits))

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
        self,
        image: npt.NDArray[Any],
        *,
        pixel_size: tuple[float, float] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Segmentation:
        """Find the nuclei of an image.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, C), any real dtype
            Grey or colour, without or with alpha, in any range of intensities.
        pixel_size : tuple of float, optional
            Micrometres from pixel to pixel along rows and columns, for measurements; where the
            model knows at what pixel size it sees nuclei best, the scale follows from it too.
        progress : callable, optional
            ``progress(done, total)``, of the windows; an error that it raises ends the work. Not
            called where the image is one window.

        Returns
        -------
        Segmentation

        Raises
        ------
        InputError
            The array is no image of finite real numbers, or a pixel size is not plausible.
        ModelError
            The network does not give what the model's description says.
        """
        image = np.asarray(image)
        limits = prepared_limits(image, self.card.preprocessing)
        model, found = self._for_background(bright=limits.bright), None
        preprocessing, scaling = model.card.preprocessing, model.card.scaling
        if model.scale is None and scaling is not None:
            view, found = estimate_view(
                model, image, limits, scaling, pixel_size=pixel_size, progress=progress
            )
            model = replace(model, scale=view.scale, view=view)
        else:
            model = model.seen_in(limits)
        if found is None and (fits(model, image.shape) or preprocessing.size is not None):
            maps = maps_of(model, prepare(image, preprocessing, limits=limits))
            return model.nuclei(image, maps, pixel_size=pixel_size)
        if found is None:
            found = find(model, image, limits=limits, scale=model.scale or 1.0, progress=progress)
        return model._segmentation(image, found.labels, found.scores, found.probability, pixel_size)

    def seen_in(self, limits: SeenRange) -> Model:
        """Return the same model, which knows what range of intensities an image is seen in."""
        view = self.view or View(self.scale or 1.0)
        view = replace(view, outliers=limits.outliers, bright=limits.bright)
        return replace(self, view=view)

    def fits_memory(self, shape: tuple[int, ...]) -> bool:
        """Whether an image of (height, width, ...) is held in memory, rather than in a file."""
        return math.prod(shape[:2]) <= self.image_pixels

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
            A pixel size is not plausible.
        """
        image = np.asarray(image)
        model = self.suited(image)
        # Resizing drops the axis of a single map.
        size = (image.shape[0], image.shape[1])
        maps = resize_image(network_maps, size).reshape(*size, -1)
        labels = label_image(maps, model.card.postprocessing)
        scores, probability = (
            scores_of(model, image, labels, maps),
            np.ascontiguousarray(maps[..., 0]),
        )
        return model._segmentation(image, labels, scores, probability, pixel_size)

    def _segmentation(
        self,
        image: npt.NDArray[Any],
        labels: npt.NDArray[np.int32],
        scores: FloatImage,
        probability: FloatImage,
        pixel_size: tuple[float, float] | None,
    ) -> Segmentation:
        if pixel_size is not None and plausible(pixel_size) is None:
            low, high = PIXEL_SIZES
            raise InputError(
                f"Expected a pixel size of {low:g} to {high:g} µm, got {pixel_size}. Give it in "
                "micrometres from pixel to pixel, or leave it out."
            )
        found = scores
        labels, scores = kept_nuclei(labels, found, self.card.postprocessing)
        dtype = np.uint16 if len(scores) <= np.iinfo(np.uint16).max else np.uint32
        sureness = self.confidence(found, len(scores))
        return Segmentation(
            image,
            labels.astype(dtype),
            scores,
            probability,
            pixel_size,
            sureness,
            classifier=self.classifier,
        )

    def confidence(self, scores: FloatImage, kept: int) -> Confidence:
        """Sum up the scores of all nuclei found in an image, of which so many are kept."""
        limit = None if self.card.scoring is None else self.card.scoring.confident_from
        return confidence(scores, kept, limit, self.view or View(self.scale or 1.0))

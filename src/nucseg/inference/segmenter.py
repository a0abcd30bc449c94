"""Segmentation of one image, as all front ends use it."""

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
    """A model that is ready to segment images.

    Attributes
    ----------
    card : ModelCard
        Description of the model, including preprocessing and postprocessing.
    runtime : Runtime
        Runs the network.
    window : int
        Side of a square with as many pixels as the model segments at once, a multiple of 32.
        Larger images are divided into overlapping windows, see `nucseg.inference.tiling`. Labels
        depend on the window, so it does not change with the available memory.
    scale : float or None
        Factor by which images are resized for the network. If None and the card has scaling
        settings, the scale is estimated for each image.
    image_pixels : int
        Number of pixels of the largest image that is kept in memory. The label image of a larger
        image is kept in a file. Labels do not depend on this number.
    view : View or None
        Source of the scale, if it was estimated or computed from a diameter.
    classifier : Classifier or None
        Assigns a class to each nucleus.
    bright : Model or None
        Model for images with a bright background, if this model is only for other images.
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
        """Return the name and the description of the model; ``card`` has all details."""
        return f"<Model {self.card.name}: {self.card.description}>"

    def with_postprocessing(self, **changes: Any) -> Model:
        """Return the same model with other postprocessing settings.

        Parameters
        ----------
        **changes
            Settings of `ConnectedComponents` or `Watershed`, whichever the model uses.

        Raises
        ------
        InputError
            The method of the model does not have the setting, or the value is out of bounds.
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

        The model averages the maps of eight orientations of the image. This takes eight times as
        long.
        """
        bright = self.bright and self.bright.with_tta()
        return replace(self, card=self.card.model_copy(update={"tta": True}), bright=bright)

    def with_classes(self, classifier: Classifier | None) -> Model:
        """Return the same model with a classifier for nuclei.

        Parameters
        ----------
        classifier : Classifier or None
            Classifier, as returned by `nucseg.classes.load`. None removes it.
        """
        bright = self.bright and self.bright.with_classes(classifier)
        return replace(self, classifier=classifier, bright=bright)

    def on_one_thread(self) -> Model:
        """Return the same model with a network that runs on the calling thread only."""
        bright = self.bright and self.bright.on_one_thread()
        return replace(self, runtime=self.runtime.on_one_thread(), bright=bright)

    def suited(self, image: npt.NDArray[Any]) -> Model:
        """Return the model for the background of an image: of a pair, the bright or the dark one.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, C), any real dtype

        Returns
        -------
        Model
            The model itself if it segments images with any background.
        """
        if self.bright is None:
            return self
        return self._for_background(bright=has_bright_background(np.asarray(image)))

    def _for_background(self, *, bright: bool) -> Model:
        """Return the model for a bright or a dark background."""
        if self.bright is None:
            return self
        return self.bright if bright else replace(self, bright=None)

    def with_diameter(self, diameter: float) -> Model:
        """Return the same model for images whose nuclei have a given typical diameter.

        Parameters
        ----------
        diameter : float
            Median diameter in pixels.

        Raises
        ------
        InputError
            The diameter is not positive, or the model resizes all images to one size.
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
        """Return the model with the scale and the background that fit an image.

        Parameters
        ----------
        image : Windowed, shape (H, W) or (H, W, C), any real dtype
        limits : (low, high), optional
            Intensity limits of the image, see `nucseg.images.preprocess.prepared_limits`.
            Required if the image is not in memory.
        pixel_size : tuple of float, optional
            Pixel size in µm along rows and columns.

        Raises
        ------
        InputError, ModelError
            See `segment`.
        """
        if limits is None:
            limits = prepared_limits(np.asarray(image), self.card.preprocessing)
        model = self._for_background(bright=limits.bright)
        if model.scale is not None or model.card.scaling is None:
            return model.seen_in(limits)
        view, _ = estimate_view(model, image, limits, model.card.scaling, pixel_size=pixel_size)
        return replace(model, scale=view.scale, view=view)

    def network_maps(self, image: npt.NDArray[Any]) -> FloatImage:
        """Run the network on an image at the size of the network, without estimating a scale.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, C), any real dtype

        Returns
        -------
        ndarray, shape (height, width, M), float32, in [0, 1]
            One map for each name in ``card.outputs``. The first is the probability of nucleus.

        Raises
        ------
        InputError
            The array is not an image of finite real numbers.
        ModelError
            The output of the network does not match the description of the model.
        """
        limits = prepared_limits(np.asarray(image), self.card.preprocessing)
        model = self._for_background(bright=limits.bright)
        return maps_of(model, prepare(image, model.card.preprocessing, limits=limits))

    def network_probability(self, image: npt.NDArray[Any]) -> FloatImage:
        """Compute the probability that each pixel is in a nucleus, at the size of the network.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, C), any real dtype

        Returns
        -------
        ndarray, shape (height, width), float32, in [0, 1]

        Raises
        ------
        InputError, ModelError
            See `network_maps`.
        """
        return self.network_maps(image)[..., 0]

    def probability(self, image: npt.NDArray[Any]) -> FloatImage:
        """Compute the probability that each pixel is in a nucleus, at the size of the image.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, C), any real dtype

        Returns
        -------
        ndarray, shape (H, W), float32, in [0, 1]

        Raises
        ------
        InputError, ModelError
            See `network_maps`.
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
        """Segment the nuclei of an image.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, C), any real dtype
            Grey or colour image, with or without alpha channel, in any intensity range.
        pixel_size : tuple of float, optional
            Pixel size in µm along rows and columns, used for measurements. If the model has a
            preferred pixel size, the scale is computed from it too.
        progress : callable, optional
            Called as ``progress(done, total)`` after each window. An error that it raises stops the
            segmentation. It is not called if the image fits in one window.

        Returns
        -------
        Segmentation

        Raises
        ------
        InputError
            The array is not an image of finite real numbers, or the pixel size is not plausible.
        ModelError
            The output of the network does not match the description of the model.
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
        """Return the same model with the intensity limits of an image noted in its view."""
        view = self.view or View(self.scale or 1.0)
        view = replace(view, outliers=limits.outliers, bright=limits.bright)
        return replace(self, view=view)

    def fits_memory(self, shape: tuple[int, ...]) -> bool:
        """Return whether an image of shape (height, width, ...) is kept in memory, not a file."""
        return math.prod(shape[:2]) <= self.image_pixels

    def nuclei(
        self,
        image: npt.NDArray[Any],
        network_maps: FloatImage,
        *,
        pixel_size: tuple[float, float] | None = None,
    ) -> Segmentation:
        """Compute the nuclei from the maps of the network: the second half of `segment`.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, C), any real dtype
        network_maps : ndarray, shape (height, width, M), float32, in [0, 1]
            Maps of this image, as returned by `network_maps`.
        pixel_size : tuple of float, optional
            Pixel size in µm along rows and columns.

        Raises
        ------
        InputError
            The pixel size is not plausible.
        """
        image = np.asarray(image)
        model = self.suited(image)
        # Resizing drops the last axis of a single map.
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
        """Summarize the scores of all nuclei found in an image; `kept` counts those not dropped."""
        limit = None if self.card.scoring is None else self.card.scoring.confident_from
        return confidence(scores, kept, limit, self.view or View(self.scale or 1.0))

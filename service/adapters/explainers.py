"""The registry of explanation methods."""

from __future__ import annotations

from service.adapters.shap_kernel import KERNEL
from service.adapters.shap_trees import TREE_SHAP
from service.domain.explainers.anchor import ANCHOR
from service.domain.explainers.counterfactual import COUNTERFACTUAL
from service.domain.explainers.exhaustive import EXHAUSTIVE
from service.domain.explainers.game import Method
from service.domain.explainers.grad_cam import GRAD_CAM
from service.domain.explainers.integrated_gradients import INTEGRATED_GRADIENTS
from service.domain.explainers.lime import LIME
from service.domain.explainers.linear_exact import LINEAR_EXACT
from service.domain.explainers.occlusion import OCCLUSION, OCCLUSION_SUPERPIXELS
from service.domain.explainers.permutation import PERMUTATION
from service.domain.explainers.saliency import SALIENCY
from service.domain.explainers.smoothgrad import SMOOTHGRAD
from service.domain.explainers.tree_exact import TREE_EXACT

METHODS: tuple[Method, ...] = (
    TREE_EXACT,
    TREE_SHAP,  # in its place where folding is too large
    LINEAR_EXACT,
    EXHAUSTIVE,
    PERMUTATION,
    KERNEL,
    LIME,
    OCCLUSION,
    OCCLUSION_SUPERPIXELS,
    SALIENCY,
    SMOOTHGRAD,
    INTEGRATED_GRADIENTS,
    GRAD_CAM,
    COUNTERFACTUAL,
    ANCHOR,
)
NEED_SHAP = (TREE_SHAP, KERNEL)
"""What loads shap when it is used."""

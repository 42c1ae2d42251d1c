"""Every measure of drift, in the order in which it is shown; whoever adds one adds its line here."""

from __future__ import annotations

from service.domain.drift.chi_square_z import ChiSquareZ
from service.domain.drift.jensen_shannon import JensenShannon
from service.domain.drift.ks import KS
from service.domain.drift.ks_p import KSP
from service.domain.drift.measure import Measure
from service.domain.drift.missing_share import MissingShare
from service.domain.drift.psi import Psi
from service.domain.drift.psi_excess import PsiExcess
from service.domain.drift.psi_z import PsiZ
from service.domain.drift.unseen_share import UnseenShare
from service.domain.drift.wasserstein import Wasserstein

MEASURES: tuple[Measure, ...] = (
    Psi(),
    PsiExcess(),
    PsiZ(),
    JensenShannon(),
    KS(),
    KSP(),
    Wasserstein(),
    ChiSquareZ(),
    MissingShare(),
    UnseenShare(),
)

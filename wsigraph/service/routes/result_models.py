"""The JSON of results, for the OpenAPI document. `serializers` makes the values."""

from __future__ import annotations

from pydantic import BaseModel


class Survival(BaseModel):
    """A survival curve.

    Attributes
    ----------
    time_days, probability : list of float
        Ends of the intervals in days, and the probability to survive them.
    low, high : list of float or None
        Band around the curve.
    """

    time_days: list[float]
    probability: list[float]
    low: list[float] | None
    high: list[float] | None


class PredictionFacts(BaseModel):
    """A prediction.

    Attributes
    ----------
    stage : dict of str to float
        Probability of each stage.
    stage_set : list of str
        Stages that cannot be excluded (conformal set).
    risk : float or None
        Log cumulative hazard.
    median_survival_days : float or None
        None if the curve stays above one half.
    survival : Survival
        The predicted curve.
    distance : float or None
        How far the slide is from the training cohort.
    percentile : float or None
        Percent of the held-out training slides that are nearer; None if the model's card has none.
    withheld : str
        Why there is no number; empty if there are.
    assumes : str
        What the model takes for granted about the slide.
    is_demonstration : bool
        Whether the model knows simulated tissue alone.
    risk_parts : dict of str to float or None
        Parts of the risk: composition and arrangement. None if the model does not split it.
    relation : str
        ``out of fold``, ``external`` or ``in training``.
    model, notice : str
        Name of the model, and what to know of it.
    warnings : list of str
        Warnings.
    """

    stage: dict[str, float]
    stage_set: list[str]
    risk: float | None
    median_survival_days: float | None
    survival: Survival
    distance: float | None
    risk_parts: dict[str, float] | None = None
    percentile: float | None = None
    withheld: str = ""
    assumes: str = ""
    is_demonstration: bool = False
    relation: str
    model: str
    notice: str
    warnings: list[str]


class MemberFacts(BaseModel):
    """Attributed output of the ensemble members.

    Attributes
    ----------
    n : int
        Number of members.
    low, high : float
        Smallest and largest output.
    agreement : float or None
        Correlation of their attributions.
    """

    n: int
    low: float
    high: float
    agreement: float | None


class FaithfulnessCurve(BaseModel):
    """Output while regions are removed in the order of importance.

    Attributes
    ----------
    area_fraction : list of float
        Removed fraction of the tissue area.
    output : dict of str to list of float
        Output by ranking, and of random rankings.
    gain : dict of str to float
        Area between each curve and that of random rankings.
    towards : float or None
        Output that the curve should approach.
    random_beaten : float or None
        Fraction of random rankings with a smaller gain.
    n_random, n_members : int
        Number of random rankings and of ensemble members.
    """

    area_fraction: list[float]
    output: dict[str, list[float]]
    gain: dict[str, float]
    towards: float | None
    random_beaten: float | None
    n_random: int
    n_members: int


class ExplanationFacts(BaseModel):
    """An explanation with its tests.

    Attributes
    ----------
    target, unit : str
        Explained output and its unit.
    value, reference_value : float
        Output for the slide and for the reference input.
    reference : str
        Identifier of the reference input.
    output_sd : float or None
        Standard deviation of the output in the training cohort.
    completeness_error, completeness_error_limit : float
        Difference between the sum of attributions and that of the outputs, and its limit.
    is_complete : bool
        Whether the error is within the limit.
    n_steps : int
        Steps of the integration path.
    edge_ablation_value : float or None
        Output without messages between regions.
    members : MemberFacts
        The ensemble members.
    groups : dict of str to float
        Attribution by group of features.
    curves : dict of str to FaithfulnessCurve
        Faithfulness curves.
    text : list of str
        The explanation in sentences.
    warnings : list of str
        Warnings.
    """

    target: str
    unit: str
    value: float
    reference_value: float
    reference: str
    output_sd: float | None
    completeness_error: float
    completeness_error_limit: float
    is_complete: bool
    n_steps: int
    edge_ablation_value: float | None
    members: MemberFacts
    groups: dict[str, float]
    curves: dict[str, FaithfulnessCurve]
    text: list[str]
    warnings: list[str]


class CohortSurvival(BaseModel):
    """Survival of the training cohort.

    Attributes
    ----------
    n_patients, n_events : int
        Size of the cohort.
    time_days, survival, low, high : list of float
        Kaplan-Meier curve with its confidence band.
    """

    n_patients: int
    n_events: int
    time_days: list[float]
    survival: list[float]
    low: list[float]
    high: list[float]


class Facts(BaseModel):
    """The results of a job.

    Attributes
    ----------
    job_id, slide_id : str
        The job, and the slide as its records name it.
    n_regions : int
        Number of regions.
    tissue_mm2 : float
        Area of the tissue.
    can_remove : bool
        Whether the model of the job is loaded, so that regions can be removed.
    prediction : PredictionFacts
        The prediction.
    explanation : ExplanationFacts or None
        The explanation of a job of kind ``explain``.
    cohort : CohortSurvival or None
        Survival of the training cohort.
    """

    job_id: str
    slide_id: str
    n_regions: int
    tissue_mm2: float
    can_remove: bool
    prediction: PredictionFacts
    explanation: ExplanationFacts | None
    cohort: CohortSurvival | None

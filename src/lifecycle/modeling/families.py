"""The families of models. A family is added here alone: a subclass of `Family`, and its place in `FAMILIES`."""

from __future__ import annotations

import sys
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import SplineTransformer

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Range
from lifecycle.core.paths import PARAMS
from lifecycle.core.records import Record
from lifecycle.modeling.family import Compiled, Family, Hyperparameters, Preparation, Space, TrainingMatrix, to_plain
from lifecycle.modeling.weights import fit_weighted

Array = np.ndarray[Any, Any]


class SplineAppender(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Append a cubic B-spline basis (de Boor 1978) of the columns with many values.

    Knots are at quantiles of the rows it was fitted on; beyond the outer knots the basis stays constant. Columns at the
    places `left_out` have none.
    """

    def __init__(self, knots: int = 5, left_out: tuple[int, ...] = ()) -> None:
        self.knots = knots
        self.left_out = left_out

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the columns with more distinct values than a basis has parts, and their knots."""
        X = np.asarray(X, dtype="float64")
        columns = [column for column in range(X.shape[1]) if column not in set(self.left_out)]
        self.columns_ = [column for column in columns if len(np.unique(X[:, column])) > 4 * self.knots]
        self.bases_ = []
        for column in self.columns_:
            places = np.unique(np.quantile(X[:, column], np.linspace(0, 1, self.knots)))
            self.bases_.append(SplineTransformer(knots=places[:, None], include_bias=False).fit(X[:, [column]]))
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return X with the columns of the bases appended."""
        X = np.asarray(X, dtype="float64")
        return np.hstack([X, *(b.transform(X[:, [c]]) for c, b in zip(self.columns_, self.bases_, strict=True))])


class Logistic(Family):
    """Logistic regression with an L2 penalty; with `knots` above 0 it also has a cubic spline of each number.

    It keeps no directions: scikit-learn's solvers have no bounds on coefficients.
    """

    name = "logistic"
    space: ClassVar[Space] = {"C": Range(low=0.03, high=10.0, log=True), "knots": [0, 4, 5, 6]}

    def prepare(self, hyperparameters: Hyperparameters) -> Preparation:
        """Return that numbers are standardised and gaps filled."""
        return Preparation(scale=True, takes_missing=False)

    def fit(self, hyperparameters: Hyperparameters, training: TrainingMatrix, seed: int, threads: int) -> Any:
        """Fit the regression, after the splines where there are knots."""
        options = self.read_options(hyperparameters)
        knots = options.pop("knots", 0)
        model = LogisticRegression(max_iter=1000, **options)
        whole = make_pipeline(SplineAppender(knots, training.texts), model) if knots else model
        return fit_weighted(whole, training.X, training.y, training.weights)

    def compile(self, model: Any) -> Compiled:
        """Return the coefficients and the intercept; the splines of a column become one piecewise cubic.

        A spline is a polynomial between two knots (de Boor, A Practical Guide to Splines, 1978). The coefficients of a
        piece are ordered from the highest power to the lowest.
        """
        self.check_class(model, "LogisticRegression", "A pipeline of SplineAppender, LogisticRegression")
        appender, regression = (step for _, step in model.steps) if isinstance(model, Pipeline) else (None, model)
        coefficients = regression.coef_[0]
        plain = coefficients if appender is None else coefficients[: appender.n_features_in_]
        plan: Record = {
            "kind": "linear", "coefficients": to_plain(plain), "intercept": float(regression.intercept_[0])
        }  # fmt: skip
        return plan | ({} if appender is None else {"curves": _compile_curves(appender, coefficients)}), None


class Forest(Family):
    """A random forest."""

    name = "forest"
    constrains = True
    space: ClassVar[Space] = {
        "n_estimators": [60],
        "min_samples_leaf": Range(low=10, high=40, log=True),
        "max_features": Range(low=0.1, high=0.4),
        "max_samples": Range(low=0.4, high=0.9),
    }

    def prepare(self, hyperparameters: Hyperparameters) -> Preparation:
        """Return that gaps are filled."""
        return Preparation(scale=False, takes_missing=False)

    def fit(self, hyperparameters: Hyperparameters, training: TrainingMatrix, seed: int, threads: int) -> Any:
        """Fit a forest that predicts on one thread.

        scikit-learn adds up the trees in the order in which threads finish, which changes the last bits.
        """
        options = self.read_options(hyperparameters)
        model = RandomForestClassifier(
            random_state=seed, n_jobs=1, monotonic_cst=training.directions or None, **options
        )
        return fit_weighted(model, training.X, training.y, training.weights)

    def compile(self, model: Any) -> Compiled:
        """Return the trees: scikit-learn compares in float32 and averages the class shares of the leaves."""
        self.check_class(model, "RandomForestClassifier")
        return {"kind": "trees", "inputs": "float32", "output": "shares"}, _import_trees(model)

    def adapt_space(self, rows: int) -> dict[str, Any] | None:
        """Return leaves that suit the number of rows; a forest of a long table takes too long."""
        leaf = _adapt_leaf(rows)
        return None if rows > _LONG_TABLE else {"min_samples_leaf": {**leaf, "high": min(leaf["high"], 40)}}


class Boosting(Family):
    """Gradient boosting of trees: gaps may stay, and `categories: native` splits a column by sets of categories.

    Such splits are found in the order of the categories' gradients (Fisher 1958, JASA 53), for columns of at most a hundred.
    """

    constrains = True

    def prepare(self, hyperparameters: Hyperparameters) -> Preparation:
        """Return that gaps may stay, and whether categories become codes; raise ProjectError for another word."""
        found = hyperparameters.get("categories", "one_hot")
        if found not in ("one_hot", "native"):
            raise ProjectError(
                f"{PARAMS}: tune.families.{self.name}.categories: {found!r} is neither one_hot nor native."
            )
        return Preparation(scale=False, takes_missing=True, codes=found == "native")

    def read_options(self, hyperparameters: Hyperparameters) -> Hyperparameters:
        """Return the hyperparameters as the library takes them."""
        options = super().read_options(hyperparameters)
        options.pop("categories", None)
        return options


class HistBoosting(Boosting):
    """scikit-learn's histogram gradient boosting."""

    name = "hist_boosting"
    space: ClassVar[Space] = {
        "learning_rate": Range(low=0.04, high=0.15, log=True),
        "max_iter": Range(low=60, high=200),
        "max_leaf_nodes": Range(low=3, high=8),
        "min_samples_leaf": Range(low=10, high=80, log=True),
        "l2_regularization": Range(low=0.1, high=30.0, log=True),
        "max_features": Range(low=0.2, high=0.8),
    }
    # scikit-learn's defaults, as far as the search spaces allow them
    _first: ClassVar[Hyperparameters] = {
        "learning_rate": 0.1, "max_iter": 100, "max_leaf_nodes": 31, "l2_regularization": 0.1, "max_features": 1.0
    }  # fmt: skip

    def fit(self, hyperparameters: Hyperparameters, training: TrainingMatrix, seed: int, threads: int) -> Any:
        """Fit all rounds, without early stopping."""
        options = self.read_options(hyperparameters)
        model = HistGradientBoostingClassifier(
            random_state=seed, early_stopping=False, monotonic_cst=training.directions or None,
            categorical_features=training.codes or None, **options,
        )  # fmt: skip
        return fit_weighted(model, training.X, training.y, training.weights)

    def compile(self, model: Any) -> Compiled:
        """Return the trees, whose leaves add up to log-odds."""
        self.check_class(model, "HistGradientBoostingClassifier")
        return {"kind": "trees", "inputs": "float64", "output": "log-odds"}, _import_trees(model)

    def adapt_space(self, rows: int) -> dict[str, Any] | None:
        """Return leaves that suit the number of rows, and more rounds for a long table."""
        return {
            "max_iter": {"low": 60, "high": 300 if rows > 5000 else 200},
            "max_leaf_nodes": {"low": 3, "high": self._first["max_leaf_nodes"], "log": True},
            "min_samples_leaf": _adapt_leaf(rows),
            "max_features": {"low": 0.2, "high": 1.0},
        }

    def choose_first(self, rows: int) -> Hyperparameters:
        """Return scikit-learn's defaults, as far as the search space allows them."""
        leaf = _adapt_leaf(rows)
        return {**self._first, "min_samples_leaf": int(np.clip(20, leaf["low"], leaf["high"]))}


class LightGBM(Boosting):
    """Gradient boosting by LightGBM (Ke et al. 2017): trees that grow leaf by leaf."""

    name = "lightgbm"
    packages = ("lightgbm",)
    space: ClassVar[Space] = {
        "learning_rate": Range(low=0.04, high=0.15, log=True),
        "n_estimators": Range(low=60, high=200),
        "num_leaves": Range(low=3, high=15, log=True),
        "min_child_samples": Range(low=10, high=80, log=True),
        "reg_lambda": Range(low=0.1, high=30.0, log=True),
        "colsample_bytree": Range(low=0.2, high=0.8),
    }

    def fit(self, hyperparameters: Hyperparameters, training: TrainingMatrix, seed: int, threads: int) -> Any:
        """Fit all rounds; histograms are summed row by row, in the same order on every run with as many threads."""
        model = self.import_package("lightgbm").LGBMClassifier(
            random_state=seed, n_jobs=threads, deterministic=True, force_row_wise=True, subsample_freq=1, verbose=-1,
            monotone_constraints=training.directions or None,
            **self.read_options(hyperparameters),
        )  # fmt: skip
        codes = {"categorical_feature": list(training.codes)} if training.codes else {}
        return fit_weighted(model, training.X, training.y, training.weights, **codes)

    def compile(self, model: Any) -> Compiled:
        """Return the trees, whose leaves add up to log-odds."""
        import treelite

        self.check_class(model, "LGBMClassifier")
        trees: bytes = treelite.frontend.from_lightgbm(model.booster_).serialize_bytes()
        return {"kind": "trees", "inputs": "float64", "output": "log-odds"}, trees


class XGBoost(Boosting):
    """Gradient boosting by XGBoost (Chen & Guestrin 2016), on histograms."""

    name = "xgboost"
    packages = ("xgboost-cpu" if sys.platform != "darwin" else "xgboost",)
    space: ClassVar[Space] = {
        "learning_rate": Range(low=0.04, high=0.15, log=True),
        "n_estimators": Range(low=60, high=200),
        "max_depth": Range(low=1, high=4),
        "min_child_weight": Range(low=1.0, high=30.0, log=True),
        "reg_lambda": Range(low=0.1, high=30.0, log=True),
        "colsample_bytree": Range(low=0.2, high=0.8),
    }

    def fit(self, hyperparameters: Hyperparameters, training: TrainingMatrix, seed: int, threads: int) -> Any:
        """Fit all rounds; balanced classes have the positive rows weighted by negatives / positives."""
        options = self.read_options(hyperparameters)
        if options.pop("class_weight", None) is not None:
            negatives, positives = np.bincount(training.y, training.weights, minlength=2)
            options["scale_pos_weight"] = float(negatives / positives)
        if training.codes:
            kinds = ["c" if place in training.codes else "q" for place in range(training.X.shape[1])]
            options |= {"enable_categorical": True, "feature_types": kinds}
        model = self.import_package("xgboost").XGBClassifier(
            random_state=seed,
            n_jobs=threads,
            tree_method="hist",
            monotone_constraints=training.directions or None,
            **options,
        )
        return fit_weighted(model, training.X, training.y, training.weights)

    def compile(self, model: Any) -> Compiled:
        """Return the trees: XGBoost compares and adds in float32, treelite in another order, which gives other last digits."""
        import treelite

        self.check_class(model, "XGBClassifier")
        trees: bytes = treelite.frontend.from_xgboost(model.get_booster()).serialize_bytes()
        return {"kind": "trees", "inputs": "float32", "output": "log-odds", "tolerance": 1e-6}, trees


FAMILIES: dict[str, Family] = {
    family.name: family for family in (Logistic(), Forest(), HistBoosting(), LightGBM(), XGBoost())
}
_LONG_TABLE = 100_000  # rows


def find_family(name: str) -> Family:
    """Return a family by its name; raise ProjectError for an unknown one."""
    if name not in FAMILIES:
        raise ProjectError(f"{PARAMS}: tune.families names {name!r}; there are {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def _compile_curves(appender: SplineAppender, coefficients: Array) -> list[Record]:
    """Return the breaks and the pieces of each column's spline."""
    from scipy.interpolate import BSpline, PPoly

    place, curves = appender.n_features_in_, []
    for column, basis in zip(appender.columns_, appender.bases_, strict=True):
        spline = basis.bsplines_[0]
        width = spline.c.shape[1] - 1  # the last one is dropped, because the basis sums to one
        weights = np.append(coefficients[place : place + width], 0.0)
        place += width
        inner = slice(spline.k, len(spline.t) - spline.k)
        whole = PPoly.from_spline(BSpline(spline.t, spline.c @ weights, spline.k))
        breaks, pieces = spline.t[inner], whole.c[:, spline.k : len(spline.t) - 1 - spline.k]
        curves.append({"column": column, "breaks": to_plain(breaks), "pieces": [to_plain(row) for row in pieces]})
    return curves


def _import_trees(model: Any) -> bytes:
    """Return the trees of a scikit-learn model in treelite's format; the same model has the same bytes."""
    import treelite

    serialised: bytes = treelite.sklearn.import_model(model).serialize_bytes()
    return serialised


def _adapt_leaf(rows: int) -> dict[str, Any]:
    """Return a range for the fewest rows of a leaf that suits a table of so many rows."""
    return {"low": int(np.clip(rows // 200, 3, 10)), "high": int(np.clip(rows // 15, 10, 80)), "log": True}

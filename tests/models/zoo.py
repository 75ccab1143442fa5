"""The models that the conformance checks run over, with what is known of each."""

from typing import Any, NamedTuple

from river import (
    anomaly,
    compose,
    ensemble,
    feature_extraction,
    forest,
    imblearn,
    linear_model,
    multiclass,
    naive_bayes,
    neighbors,
    preprocessing,
    stats,
    tree,
)

from models.purity import Purity
from models.tasks import TaskName


class Known(NamedTuple):
    model: Any
    task: TaskName = "classification"
    purity: Purity = Purity.PURE


def hat() -> Any:
    return tree.HoeffdingAdaptiveTreeClassifier(
        grace_period=100, delta=1e-5, leaf_prediction="nb", nb_threshold=10, seed=0
    )


ZOO = {
    "LR": Known(linear_model.LogisticRegression()),
    "scaled LR": Known(preprocessing.StandardScaler() | linear_model.LogisticRegression()),
    "PA": Known(linear_model.PAClassifier()),
    "GaussianNB": Known(naive_bayes.GaussianNB()),
    "BernoulliNB": Known(naive_bayes.BernoulliNB()),
    "HoeffdingTree": Known(tree.HoeffdingTreeClassifier(grace_period=30)),
    "HAT": Known(hat()),
    "SRP of HAT": Known(ensemble.SRPClassifier(hat(), n_models=3, seed=42), purity=Purity.FIRST),
    "SRP of NB": Known(
        ensemble.SRPClassifier(naive_bayes.BernoulliNB(), n_models=3, seed=42),
        purity=Purity.FIRST,
    ),
    "ARF": Known(
        forest.ARFClassifier(n_models=5, leaf_prediction="mc", seed=42), purity=Purity.FIRST
    ),
    "AMF": Known(forest.AMFClassifier(n_estimators=5, seed=42)),
    "KNN": Known(neighbors.KNNClassifier()),
    "Softmax": Known(preprocessing.StandardScaler() | linear_model.SoftmaxRegression()),
    "OneVsRest": Known(multiclass.OneVsRestClassifier(linear_model.LogisticRegression())),
    "OneVsOne": Known(multiclass.OneVsOneClassifier(linear_model.LogisticRegression())),
    "LinearRegression": Known(
        preprocessing.StandardScaler() | linear_model.LinearRegression(), "regression"
    ),
    "PARegressor": Known(linear_model.PARegressor(), "regression"),
    "HoeffdingTreeRegressor": Known(tree.HoeffdingTreeRegressor(grace_period=30), "regression"),
    "ARFRegressor": Known(
        forest.ARFRegressor(n_models=5, seed=42), "regression", purity=Purity.FIRST
    ),
    "HalfSpaceTrees": Known(anomaly.HalfSpaceTrees(n_trees=5, window_size=50, seed=42), "anomaly"),
    "OneClassSVM": Known(anomaly.OneClassSVM(), "anomaly"),
    "filtered HalfSpaceTrees": Known(
        preprocessing.MinMaxScaler()
        | anomaly.QuantileFilter(anomaly.HalfSpaceTrees(n_trees=5, seed=42), q=0.9),
        "anomaly",
    ),
    "selected features": Known(
        compose.Select(*(f"f{number}" for number in range(12))) | linear_model.LogisticRegression()
    ),
    "selected features, one against the rest": Known(
        multiclass.OneVsRestClassifier(
            compose.Select(*(f"f{number}" for number in range(12)))
            | linear_model.LogisticRegression()
        )
    ),
    "aggregates and text": Known(
        compose.TransformerUnion(
            feature_extraction.Agg("amount", ["card"], stats.Mean()),
            compose.Select("amount") | preprocessing.MinMaxScaler(),
            feature_extraction.BagOfWords(on="purpose"),
        )
        | naive_bayes.MultinomialNB()
    ),
    "one-hot": Known(preprocessing.OneHotEncoder() | linear_model.LogisticRegression()),
    "under-sampled": Known(
        imblearn.RandomUnderSampler(
            linear_model.LogisticRegression(), desired_dist={False: 0.5, True: 0.5}, seed=42
        )
    ),
    "random projection": Known(
        preprocessing.GaussianRandomProjector(seed=42) | linear_model.LogisticRegression(),
        purity=Purity.NAMES,
    ),
    "behind an anomaly filter": Known(
        anomaly.ThresholdFilter(anomaly.HalfSpaceTrees(n_trees=3, seed=42), threshold=0.9)
        | linear_model.LogisticRegression()
    ),
}

from river import compose, ensemble, feature_extraction, imblearn, linear_model, optim, stats, tree

from models.rehearsal import examples, wishes_of
from models.trial import problems


def test_a_model_finds_the_features_that_it_names():
    model = compose.Pipeline(
        compose.TransformerUnion(
            compose.Select("amount", "hour"),
            feature_extraction.Agg("amount", ["card", "shop"], stats.Mean()),
            feature_extraction.BagOfWords(on="purpose"),
            compose.Renamer({"old": "new"}),
        ),
        ensemble.BaggingClassifier(
            tree.HoeffdingTreeClassifier(nominal_attributes=["country"]), n_models=2, seed=1
        ),
    )
    wishes = wishes_of(model)
    assert set(wishes.numbers) == {"amount", "hour", "old", "country"}
    assert wishes.groups == ["card", "shop"]
    assert wishes.texts == ["purpose"]
    assert wishes.labels == []
    for x, _, _ in examples(wishes, 20):
        assert isinstance(x["amount"], float)
        assert x["card"] in (0, 1, 2)
        assert len(x["purpose"].split()) == 3


def test_a_model_is_taught_the_labels_that_it_is_set_up_for():
    sampler = imblearn.RandomUnderSampler(
        linear_model.LogisticRegression(), desired_dist={"fraud": 0.5, "ok": 0.5}, seed=1
    )
    assert {example.label for example in examples(wishes_of(sampler), 50)} == {"fraud", "ok"}


def test_a_model_whose_parts_point_at_each_other_is_walked_once():
    model = linear_model.LogisticRegression()
    model.loss = model
    assert wishes_of(model).numbers == []


def test_examples_are_the_same_at_every_call_and_can_be_learned():
    wishes = wishes_of(linear_model.LogisticRegression())
    rows = examples(wishes, 300, (("late", 100),))
    assert rows == examples(wishes, 300, (("late", 100),))
    assert {"late" in row.x for row in rows[:100]} == {False}
    assert {"late" in row.x for row in rows[100:]} == {True}
    assert [list(row.x) for row in rows[:100]] == [["a", "b", "c", "d", "e", "n"]] * 100
    model = tree.HoeffdingTreeClassifier(grace_period=50)
    right = 0
    for row in rows:
        right += model.predict_one(row.x) == row.label
        model.learn_one(row.x, row.label)
    assert right > 200


def test_a_model_that_runs_has_no_problems():
    assert problems(linear_model.LogisticRegression()) == []
    # It fails with numbers and goes with text.
    upper = compose.FuncTransformer(lambda x: {x["t"].upper(): 1})
    assert problems(compose.Select("t") | upper | linear_model.LogisticRegression()) == []


def test_a_transformer_is_not_tried():
    assert problems(compose.Select(3)) == []


def test_a_part_of_the_wrong_type_is_a_problem():
    model = linear_model.LogisticRegression(optimizer=optim.Adam(lr="fast"))
    (problem,) = problems(model)
    assert problem.startswith("teaching the model fails: AttributeError: 'str' object")

"""What predicting needs of a model, in pieces small enough to be loaded between two predictions.

A forest's pickle is mostly what it learns with: statistics of candidate splits, drift detectors,
background trees, a random generator in each Gaussian. A view leaves those out, and cuts what is left
where a tree branches. Pieces are plain pickle; each may refer to those before it, and the last one is
the model. Nobody promises that a view answers as its model does: compare them.
"""

import copyreg
import io
import pickle
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from state import tables

# Weight of a piece, in statistics of a leaf: a millisecond or two of loading.
_HEAVY: Final = 128

# What predicting never looks at: where the class is defined, its name, attribute -> what stands for it.
_LEFT_OUT: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("river.tree.nodes.leaf", "HTLeaf", {"splitter": None}),
    (
        "river.tree.splitter.gaussian_splitter",
        "GaussianSplitter",
        {"_min_per_class": {}, "_max_per_class": {}},
    ),
    (
        "river.forest.adaptive_random_forest",
        "BaseForest",
        {"_background": None, "_drift_norm": None, "_drift_detectors": None, "_warning_detectors": None},
    ),
    (
        "river.ensemble.streaming_random_patches",
        "BaseSRPEstimator",
        {"_background_learner": None, "drift_detector": None, "warning_detector": None},
    ),
)  # fmt: skip
# Objects of these are None in a view.
_NOTHING: Final = (
    ("river.base.drift_detector", "_BaseDriftDetector"),
    ("river.base.drift_detector", "_BaseDriftAndWarningDetector"),
)


def pieces(model: Any) -> list[bytes]:
    """The view of a model, piece by piece; `Loading` puts it together.

    Raises
    ------
    Exception
        Whatever pickling this model raises.
    """
    return _Cutting().cut(model)


class Loading:
    """Puts a view together, a piece at a time.

    Attributes
    ----------
    loaded : list
        One object a piece; the last one is the model.

    Examples
    --------
    >>> loading = Loading(pieces({"weight": 0.5}))
    >>> while loading.step():
    ...     pass
    >>> loading.model
    {'weight': 0.5}
    """

    def __init__(self, cut: list[bytes]) -> None:
        self._cut = cut
        self.loaded: list[Any] = []

    def step(self) -> bool:
        """Load the next piece; False where there is none left."""
        if len(self.loaded) == len(self._cut):
            return False
        self.loaded.append(_Unpickler(self._cut[len(self.loaded)], self.loaded).load())
        return True

    @property
    def model(self) -> Any:
        """The model, after the last step."""
        return self.loaded[-1]


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, loaded: list[Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._loaded = loaded

    def persistent_load(self, place: int) -> Any:
        return self._loaded[place]


class _Cutting:
    """One model on its way into pieces."""

    def __init__(self) -> None:
        self._cut: list[bytes] = []
        # The piece that an object is, by the object's address.
        self.places: dict[int, int] = {}
        self._seen: set[int] = set()
        self._kinds: dict[type, Callable[[Any], None] | None] = {}
        self._node = _classes("river.tree.base", ("Branch", "Leaf"))
        self._ensemble = _classes("river.base.ensemble", ("Ensemble",))
        self._reducers = {**copyreg.dispatch_table, **tables.reducers(), **_reducers()}

    def cut(self, model: Any) -> list[bytes]:
        self._dump(model)
        return self._cut

    def _dump(self, root: Any) -> None:
        written = io.BytesIO()
        pickler = _Pickler(written, self, root)
        pickler.dispatch_table = self._reducers
        pickler.dump(root)
        self.places[id(root)] = len(self._cut)
        self._cut.append(written.getvalue())

    def met(self, obj: Any) -> None:
        """An object that is about to be written: does it, or what it holds, go into other pieces?"""
        kind = type(obj)
        if kind not in self._kinds:
            self._kinds[kind] = (
                self._tree
                if issubclass(kind, self._node)
                else self._members
                if issubclass(kind, self._ensemble)
                else None
            )
        cutting = self._kinds[kind]
        if cutting is not None and id(obj) not in self._seen:
            cutting(obj)

    def _members(self, ensemble: Any) -> None:
        self._seen.add(id(ensemble))
        for member in ensemble.data:
            self._dump(member)

    def _tree(self, root: Any) -> None:
        """A piece for each subtree that is heavy without the pieces below it."""
        order, waiting = [], [root]
        while waiting:
            node = waiting.pop()
            order.append(node)
            waiting += _below(node)
        self._seen.update(map(id, order))
        weights: dict[int, int] = {}
        for node in reversed(order):
            below = sum(weights.pop(id(child)) for child in _below(node))
            weight = 1 + below + len(_kept_splitters(node) or ())
            if weight >= _HEAVY:
                self._dump(node)
                weight = 0
            weights[id(node)] = weight


class _Pickler(pickle.Pickler):
    def __init__(self, written: io.BytesIO, cutting: _Cutting, root: Any) -> None:
        super().__init__(written, protocol=pickle.HIGHEST_PROTOCOL)
        self._cutting = cutting
        self._places = cutting.places
        self._root = root

    def persistent_id(self, obj: Any) -> int | None:
        if obj is self._root:
            if id(obj) not in self._places:
                self._cutting.met(obj)
            return None
        self._cutting.met(obj)
        return self._places.get(id(obj))


def _below(node: Any) -> list[Any]:
    """The nodes right below one."""
    found = [child for child in getattr(node, "children", ()) if child is not None]
    alternate = getattr(node, "_alternate_tree", None)
    return found if alternate is None else [*found, alternate]


def _kept_splitters(node: Any) -> Any:
    """What a leaf keeps of its statistics of features: naive Bayes answers from them."""
    splitters = getattr(node, "splitters", None)
    if not splitters:
        return splitters
    kind = type(node)
    majority = sys.modules["river.tree.nodes.htc_nodes"]
    regression = sys.modules.get("river.tree.nodes.htr_nodes")
    if kind.prediction is majority.LeafMajorityClass.prediction or (
        regression is not None and issubclass(kind, regression.LeafMean)
    ):
        return {}
    adapts = kind.prediction is majority.LeafNaiveBayesAdaptive.prediction
    if adapts and node._nb_correct_weight < node._mc_correct_weight:
        return {}
    return splitters


# What is written of an object


def _reducers() -> dict[type, Callable[[Any], Any]]:
    """For the classes that are imported by now; one that is not has no instance."""
    found: dict[type, Callable[[Any], Any]] = {random.Random: _nothing}
    for module, name in _NOTHING:
        for kind in _classes(module, (name,)):
            found.update(dict.fromkeys(_family(kind), _nothing))
    for module, name, left_out in _LEFT_OUT:
        for kind in _classes(module, (name,)):
            found.update(dict.fromkeys(_family(kind), _without(left_out)))
    return found


def _nothing(_: Any) -> tuple[Any, ...]:
    return type(None), ()


def _without(left_out: dict[str, Any]) -> Callable[[Any], Any]:
    def reduce(obj: Any) -> tuple[Any, ...]:
        function, args, state, *rest = obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        state = {**state, **{name: left_out[name] for name in left_out if name in state}}
        if "splitters" in state:
            state["splitters"] = _kept_splitters(obj)
        return function, args, state, *rest

    return reduce


def _classes(module: str, names: tuple[str, ...]) -> tuple[type, ...]:
    loaded = sys.modules.get(module)
    return () if loaded is None else tuple(getattr(loaded, name) for name in names)


def _family(kind: type) -> Iterator[type]:
    yield kind
    subclass: type
    for subclass in kind.__subclasses__():
        yield from _family(subclass)

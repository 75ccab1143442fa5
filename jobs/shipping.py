"""The project's own code travels with the job.

A task manager keeps a module once it is imported, so a job started from a savepoint would go on
running the code of the job before it. Therefore a function leaves the client together with the
sources it is made of, and each set of sources gets modules of its own where it arrives. (Pickling by
value does not do it: it turns msgspec structs into structs without fields, silently.)
"""

from __future__ import annotations  # `unpack` travels alone, without the names of annotations

import copyreg
import hashlib
import importlib
import importlib.abc
import json
import pkgutil
import sys
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import cloudpickle

PACKAGES = ("events", "models", "state", "operators")


def ship(*classes: type) -> None:
    """Pickle instances of these classes together with the sources of `PACKAGES`."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    for shipped in classes:
        copyreg.pickle(shipped, _reduce)


def _reduce(function: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    digest, archive = pack()
    kind = type(function)
    # The fields are instances of shipped classes: they can be read once the modules exist.
    fields = cloudpickle.dumps(function.__dict__)
    return unpack, (digest, archive, kind.__module__, kind.__qualname__, fields)


@cache
def pack() -> tuple[str, bytes]:
    """The sources of `PACKAGES` and their SHA-256; this process has them already."""
    sources = {}
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        names = [package, *(f"{package}.{info.name}" for info in pkgutil.iter_modules(path))]
        for name in names:
            loader = importlib.import_module(name).__loader__
            assert isinstance(loader, importlib.abc.InspectLoader), name
            sources[name] = loader.get_source(name) or ""
    text = json.dumps(sources, sort_keys=True).encode()
    digest = hashlib.sha256(text).hexdigest()
    sys.__dict__["_riverrun_code"] = digest
    return digest, zlib.compress(text)


def unpack(digest: str, archive: bytes, module: str, name: str, fields: bytes) -> Any:
    """Build the function again, from these sources.

    Runs on the task manager, where no module of this project need exist: it is pickled by value, and
    imports what it uses itself.
    """
    import importlib
    import importlib.abc
    import importlib.util
    import json
    import pickle
    import sys
    import threading
    import zlib

    class Finder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
        def __init__(self, digest: str, sources: dict[str, str]) -> None:
            self.digest = digest
            self.sources = sources
            self.modules: dict[str, Any] = {}

        def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
            if name not in self.sources:
                return None
            file = f"<riverrun {self.digest[:8]}>/{name}.py"
            return importlib.util.spec_from_file_location(name, file, loader=self)

        def is_package(self, name: str) -> bool:
            return "." not in name

        def get_source(self, name: str) -> str:
            return self.sources[name]

    shared: dict[str, Any] = sys.__dict__
    # Slots of one task manager are threads of one interpreter.
    with shared.setdefault("_riverrun_lock", threading.RLock()):
        before = shared.get("_riverrun_code")
        if before != digest:
            finders = shared.setdefault("_riverrun_finders", {})
            if digest not in finders:
                finders[digest] = Finder(digest, json.loads(zlib.decompress(archive)))
            finder = finders[digest]
            packages = {source for source in finder.sources if "." not in source}
            replaced = {n: m for n, m in sys.modules.items() if n.partition(".")[0] in packages}
            for loaded in replaced:
                del sys.modules[loaded]
            if before in finders:
                finders[before].modules = replaced
            sys.modules.update(finder.modules)
            sys.meta_path[:] = [f for f in sys.meta_path if f not in finders.values()]
            sys.meta_path.insert(0, finder)
            shared["_riverrun_code"] = digest
        kind = getattr(importlib.import_module(module), name)
        function = kind.__new__(kind)
        function.__dict__.update(pickle.loads(fields))
        return function

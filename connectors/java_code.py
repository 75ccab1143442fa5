"""The connectors' Java classes: compiled by the compiler inside Flink, shipped with the job.

Why not a jar made beforehand: docs/adr/0001-java-by-janino.md.
"""

import hashlib
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.util.java_utils import load_java_class

from connectors.cache import cache_folder

_SOURCES = Path(__file__).parent / "java"
_PACKAGE = "riverrun/connectors"
_FLINK_PYTHON = "org.apache.flink.streaming.api.typeinfo.python.PickledByteArrayTypeInfo"
# A zip file's earliest date: the same sources give the same jar, byte for byte.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def attach(env: StreamExecutionEnvironment) -> None:
    """Ship the classes with the job and make them known to this process's JVM."""
    env.add_jars(jar(get_gateway()).as_uri())


def new(class_name: str, *args: Any) -> Any:
    """An object of one of the classes, after `attach` in the same thread."""
    return getattr(get_gateway().jvm.riverrun.connectors, class_name)(*args)


def jar(gateway: Any) -> Path:
    """The jar of all classes; compiled where the cache has none of these sources and this Flink.

    Raises
    ------
    OSError
        The cache folder cannot be written.
    """
    sources = {path.name: path.read_text("utf-8") for path in sorted(_SOURCES.glob("*.java"))}
    flink = gateway.jvm.org.apache.flink.runtime.util.EnvironmentInformation.getVersion()
    content = hashlib.sha256(repr((flink, sources)).encode()).hexdigest()
    made = cache_folder() / f"riverrun-connectors-{content[:16]}.jar"
    if not made.exists():
        _write(made, _compiled(gateway, sources))
    return made


def _compiled(gateway: Any, sources: dict[str, str]) -> dict[str, bytes]:
    """Class files by their path in the jar."""
    jvm = gateway.jvm
    janino, commons = jvm.org.codehaus.janino, jvm.org.codehaus.commons.compiler.util.resource
    # The loader of the jars that the sources are written against. The thread's own may hold these
    # classes already, and Janino would take them for what the sources speak of.
    loader = load_java_class(_FLINK_PYTHON).getClassLoader()
    compiler = janino.Compiler()
    compiler.setIClassLoader(janino.ClassLoaderIClassLoader(loader))
    # Java 8 class files run on every Java that Flink does.
    compiler.setSourceVersion(8)
    compiler.setTargetVersion(8)
    compiler.setDebugLines(True)
    compiler.setDebugSource(True)
    classes = jvm.java.util.HashMap()
    compiler.setClassFileCreator(commons.MapResourceCreator(classes))
    units = gateway.new_array(commons.Resource, len(sources))
    for place, (name, text) in enumerate(sources.items()):
        units[place] = commons.StringResource(f"{_PACKAGE}/{name}", text)
    compiler.compile(units)
    return {path: bytes(classes[path]) for path in sorted(classes)}


def _write(made: Path, files: dict[str, bytes]) -> None:
    """Whoever is first; another process that writes at the same time writes the same."""
    handle, temporary = tempfile.mkstemp(dir=made.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as out, zipfile.ZipFile(out, "w") as archive:
            for path, content in files.items():
                archive.writestr(zipfile.ZipInfo(path, _EPOCH), content)
        os.replace(temporary, made)
    except BaseException:
        os.unlink(temporary)
        raise

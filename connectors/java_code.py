"""The connectors' Java classes: compiled by the compiler inside Flink, shipped with the job.

Why not a jar made beforehand: docs/adr/0001-java-by-janino.md.
"""

import hashlib
import os
import tempfile
import zipfile
from functools import reduce
from pathlib import Path
from typing import Any

from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.util.java_utils import add_jars_to_context_class_loader, load_java_class

from connectors import jars
from connectors.cache import cache_folder

_SOURCES = Path(__file__).parent / "java"
_PACKAGE = "riverrun/connectors"
# Written against Kafka's client: a jar of its own, for jobs that use it.
_KAFKA = "kafka"
# An attribute of the gateway: another JVM has other class loaders.
_LOADER = "_riverrun_class_loader"
_FLINK_PYTHON = "org.apache.flink.streaming.api.typeinfo.python.PickledByteArrayTypeInfo"
# A zip file's earliest date: the same sources give the same jar, byte for byte.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def attach(env: StreamExecutionEnvironment, *, kafka: bool = False) -> None:
    """Ship the classes with the job and make them known to this process's JVM.

    Parameters
    ----------
    kafka
        With Flink's Kafka connector and the classes that use it.

    Raises
    ------
    MissingJars
        The Kafka connector has not been fetched.
    """
    gateway = get_gateway()
    attached = kafka_jars(gateway) if kafka else [jar(gateway)]
    load(*attached)
    env.add_jars(*(path.as_uri() for path in attached))


def load(*paths: Path) -> None:
    """Make the classes in jars known to this process's JVM."""
    thread = jvm().Thread.currentThread()
    add_jars_to_context_class_loader([path.as_uri() for path in paths])
    vars(get_gateway())[_LOADER] = thread.getContextClassLoader()


def jvm() -> Any:
    """This process's JVM, as the thread of it that answers knows the classes of every jar loaded.

    Py4J takes any connection that is free, each is a thread in Java, and each thread has a class loader
    of its own: as soon as two threads here have called Java at once, a jar may be unknown to the one
    that is asked next. So whoever names a class of a jar asks for the JVM anew.
    """
    gateway = get_gateway()
    loader = vars(gateway).get(_LOADER)
    if loader is not None:
        gateway.jvm.Thread.currentThread().setContextClassLoader(loader)
    return gateway.jvm


def named(class_name: str) -> Any:
    """One of the classes here, `Envelope` or `kafka.Records`, after `attach`."""
    return reduce(getattr, class_name.split("."), jvm().riverrun.connectors)


def new(class_name: str, *args: Any) -> Any:
    """An object of one of the classes here, after `attach`."""
    return named(class_name)(*args)


def jar(gateway: Any) -> Path:
    """The jar of all classes but Kafka's; compiled where the cache has none of these sources and
    this Flink.

    Raises
    ------
    OSError
        The cache folder cannot be written.
    """
    return _jar(gateway, "", [])


def kafka_jars(gateway: Any) -> list[Path]:
    """Flink's Kafka connector, the jar of all classes but Kafka's, and that of the classes for it.

    Raises
    ------
    MissingJars
        The Kafka connector has not been fetched.
    OSError
        The cache folder cannot be written.
    """
    needed = [*jars.find(jars.CONNECTOR), jar(gateway)]
    return [*needed, _jar(gateway, _KAFKA, needed)]


def _jar(gateway: Any, folder: str, against: list[Path]) -> Path:
    """The jar of the sources in a folder, compiled against Flink and these jars."""
    sources = {
        f"{_PACKAGE}/{path.relative_to(_SOURCES).as_posix()}": path.read_text("utf-8")
        for path in sorted((_SOURCES / folder).glob("*.java"))
    }
    flink = gateway.jvm.org.apache.flink.runtime.util.EnvironmentInformation.getVersion()
    names = [path.name for path in against]
    content = hashlib.sha256(repr((flink, names, sources)).encode()).hexdigest()
    name = "-".join(filter(None, ["riverrun-connectors", folder, content[:16]]))
    made = cache_folder() / f"{name}.jar"
    if not made.exists():
        _write(made, _compiled(gateway, sources, against))
    return made


def _compiled(gateway: Any, sources: dict[str, str], against: list[Path]) -> dict[str, bytes]:
    """Class files by their path in the jar."""
    jvm = gateway.jvm
    janino, commons = jvm.org.codehaus.janino, jvm.org.codehaus.commons.compiler.util.resource
    # The loader of the jars that the sources are written against. The thread's own may hold these
    # classes already, and Janino would take them for what the sources speak of.
    loader = load_java_class(_FLINK_PYTHON).getClassLoader()
    if against:
        urls = gateway.new_array(jvm.java.net.URL, len(against))
        for place, path in enumerate(against):
            urls[place] = jvm.java.net.URL(path.as_uri())
        loader = jvm.java.net.URLClassLoader(urls, loader)
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
        units[place] = commons.StringResource(name, text)
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

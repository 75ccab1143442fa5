"""What images are built on where no registry can be reached: made of Debian's packages, on the spot."""

import shutil
import subprocess
from pathlib import Path

import docker
from tests.docker.engine import NoEngine

NAME = "debian:bookworm-slim"
# Certificates that this machine trusts besides the usual ones: a proxy's, say.
_CERTIFICATES = Path("/usr/local/share/ca-certificates")


def require(client: docker.DockerClient) -> str:
    """The base image's name: the one that is there, pulled, or made.

    Raises
    ------
    NoEngine
        It can be had in none of these ways.
    """
    try:
        client.images.get(NAME)
        return NAME
    except docker.errors.ImageNotFound:
        pass
    try:
        client.images.pull(NAME)
        return NAME
    except docker.errors.APIError:
        pass
    if shutil.which("mmdebstrap") is None:
        raise NoEngine(f"{NAME} cannot be pulled, and mmdebstrap is not installed")
    return _made(client)


def _made(client: docker.DockerClient) -> str:
    hooks = [
        f"--customize-hook=copy-in {path} {_CERTIFICATES}" for path in _CERTIFICATES.glob("*.crt")
    ]
    if hooks:
        trust = (
            'chroot "$1" update-ca-certificates; mkdir -p "$1/etc/uv"; '
            'echo "native-tls = true" > "$1/etc/uv/uv.toml"'
        )
        hooks.append(f"--customize-hook={trust}")
    command = [
        "mmdebstrap",
        *("--quiet", "--mode=root", "--variant=minbase", "--include=ca-certificates"),
        *(f"--dpkgopt=path-exclude=/usr/share/{what}/*" for what in ("man", "locale", "doc")),
        *hooks,
        *("bookworm", "-", "/etc/apt/sources.list.d/debian.sources"),
    ]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode != 0:
        raise NoEngine(f"{NAME} cannot be made: {made.stderr.decode(errors='replace')[-300:]}")
    repository, tag = NAME.split(":")
    # Python's requests trusts a list of its own otherwise.
    trusting = "ENV REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt"
    client.api.import_image_from_data(
        made.stdout, repository=repository, tag=tag, changes=['CMD ["bash"]', trusting]
    )
    return NAME

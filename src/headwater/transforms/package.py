"""Owns Fluvio's package of a SmartModule, an `.ipkg` file: opening it, and checking what it says of itself.

The key that signs a package stands in it, so a signature shows that the file is whole, not who made it.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import tomllib
import zlib
from collections.abc import Iterable

import msgspec
import yaml
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from headwater.core.errors import SmartModuleError
from headwater.transforms.wasm import MOST_CODE

_META, _MANIFEST = "package-meta.yaml", "manifest.tar.gz"
# Far above any published package, and a bound to what a hostile one can unfold to.
_MOST_BYTES = 2 * MOST_CODE
_MOST_MEMBERS = 100


class Package(msgspec.Struct, frozen=True):
    """What is in a package. `signed_by` is the public key of its first signature, in hex."""

    name: str
    group: str
    version: str
    description: str
    code: bytes
    signed_by: str


class _SignedFile(msgspec.Struct, frozen=True):
    name: str
    hash: str
    len: int
    sig: str


class _Signature(msgspec.Struct, frozen=True):
    files: list[_SignedFile]
    pubkey: str


class _Meta(msgspec.Struct, frozen=True):
    name: str
    version: str
    group: str = ""
    description: str | None = None


class _ModulePackage(msgspec.Struct, frozen=True):
    name: str
    version: str = ""
    group: str = ""


class _ModuleFile(msgspec.Struct, frozen=True):
    package: _ModulePackage


def open_package(data: bytes, name: str) -> Package:
    """Open a package and check its hashes and signatures. `name` is what errors call it. Raises SmartModuleError."""
    files = _members(data, name, "is not a package: it is no tar file")
    for wanted in (_META, _MANIFEST):
        if wanted not in files:
            raise SmartModuleError(f"{name} is not a package: it has no {wanted}")
    signed_by = _check_signatures(files, name)
    try:
        meta = msgspec.convert(yaml.load(files[_META], yaml.CSafeLoader), _Meta, strict=False)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise SmartModuleError(f"{_META} in {name} cannot be read: {error}") from error
    inner = _members(_unzipped(files[_MANIFEST], name), name, f"has a damaged {_MANIFEST}")
    code = [content for member, content in inner.items() if member.endswith(".wasm")]
    if len(code) != 1:
        raise SmartModuleError(f"{name} holds {len(code)} .wasm files; a package has exactly one")
    described = [content for member, content in inner.items() if member.rpartition("/")[2] == "SmartModule.toml"]
    if described:
        try:
            module = msgspec.convert(tomllib.loads(described[0].decode()), _ModuleFile)
        except (ValueError, msgspec.ValidationError) as error:
            raise SmartModuleError(f"SmartModule.toml in {name} cannot be read: {error}") from error
        if module.package.name != meta.name:
            raise SmartModuleError(
                f"{name} says it is {meta.name!r}, and the module in it that it is {module.package.name!r}"
            )
    return Package(meta.name, meta.group, meta.version, meta.description or "", code[0], signed_by)


def _members(data: bytes, name: str, trouble: str) -> dict[str, bytes]:
    """Return the regular files of a tar file, by name; nothing is written anywhere."""
    files: dict[str, bytes] = {}
    size = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for count, member in enumerate(archive):
                size += member.size
                if count >= _MOST_MEMBERS or size > _MOST_BYTES:
                    raise SmartModuleError(f"{name} holds more than a package may")
                content = archive.extractfile(member) if member.isreg() else None
                if content is not None:
                    files[member.name.removeprefix("./")] = content.read()
    except (tarfile.TarError, ValueError, OSError) as error:
        raise SmartModuleError(f"{name} {trouble}", hint="an .ipkg file is made by 'smdk publish --pack'") from error
    return files


def _unzipped(data: bytes, name: str) -> bytes:
    unzip = zlib.decompressobj(wbits=31)
    try:
        content = unzip.decompress(data, _MOST_BYTES)
    except zlib.error as error:
        raise SmartModuleError(f"{_MANIFEST} in {name} is damaged: {error}") from error
    if unzip.unconsumed_tail or not unzip.eof:
        raise SmartModuleError(f"{_MANIFEST} in {name} is cut off, or larger than a package may be")
    return content


def _check_signatures(files: dict[str, bytes], name: str) -> str:
    """Check every signature; return the key of the first. The first must cover what the package is made of."""
    first = ""
    for number in range(_MOST_MEMBERS):
        member = f"signature.{number}"
        if member not in files:
            break
        try:
            signature = msgspec.json.decode(files[member], type=_Signature)
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.pubkey))
        except (msgspec.DecodeError, ValueError) as error:
            raise SmartModuleError(f"{member} in {name} cannot be read: {error}") from error
        _check_files(signature.files, key, files, f"{member} in {name}")
        if not number:
            first = signature.pubkey
            missing = {_META, _MANIFEST} - {file.name for file in signature.files}
            if missing:
                raise SmartModuleError(f"{member} in {name} does not cover {', '.join(sorted(missing))}")
    if not first:
        raise SmartModuleError(f"{name} is not signed", hint="load the .wasm file itself with --wasm-file")
    return first


def _check_files(signed: Iterable[_SignedFile], key: Ed25519PublicKey, files: dict[str, bytes], place: str) -> None:
    for file in signed:
        content = files.get(file.name)
        if content is None:
            raise SmartModuleError(f"{place} covers {file.name}, which is not there")
        if len(content) != file.len or hashlib.sha512(content).hexdigest() != file.hash.lower():
            raise SmartModuleError(f"{file.name} does not match {place}: it was changed or damaged")
        try:
            key.verify(bytes.fromhex(file.sig), content)
        except (InvalidSignature, ValueError) as error:
            raise SmartModuleError(f"the signature of {file.name} is wrong: {place} was not made for it") from error

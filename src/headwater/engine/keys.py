"""Owns the files that tokens and keys are in, and signing with a key: read and signed in threads, bounded in time."""

from __future__ import annotations

import asyncio
import errno
import os
import stat

from headwater.config.auth import JwtAuth, OAuth2Auth
from headwater.core.secret import Text
from headwater.sources.auth.claims import key_header
from headwater.sources.auth.signing import Sign, jwt, load_key
from headwater.sources.auth.token import LONGEST_TOKEN, Failure, unfit

# How long a file may take to be read (seconds).
_READING = 10.0


async def read_secret(path: str) -> str | Failure:
    """Return what a file holds, without the white space at its end; whatever is no token is a failure."""
    try:
        async with asyncio.timeout(_READING):
            text = (await asyncio.to_thread(read_file, path)).decode("utf-8", "replace").strip()
    except TimeoutError:
        return Failure(f"{path} could not be read within {_READING:g} s", "see whether its disk is there", passing=True)
    except OSError as error:
        return Failure(f"{path} cannot be read: {error.strerror}", "write the token there", passing=True)
    if fault := unfit(text):
        return Failure(f"what {path} holds {fault}", "write the token there, and nothing else", passing=True)
    return text


def read_file(path: str) -> bytes:
    """Return the bytes of a file, of no more than a token can have. Blocks; raises OSError."""
    # A pipe would keep the thread until somebody writes into it.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return file.read(LONGEST_TOKEN + 1)


async def signed(auth: JwtAuth | OAuth2Auth, claims: dict[str, object]) -> str | Failure:
    """Return a JWT with the key of a configuration, or why there is none."""
    try:
        async with asyncio.timeout(_READING):
            return await asyncio.to_thread(_sign, auth, claims)
    except TimeoutError:
        return Failure(f"{auth.key_file} could not be read within {_READING:g} s", passing=True)
    except (OSError, ValueError) as error:
        return Failure(_told(auth, error), "check the key and the algorithm")


def key_fault(auth: JwtAuth | OAuth2Auth) -> str:
    """Return why nothing can be signed with the key of a configuration, empty when it can. Blocks."""
    try:
        _sign(auth, {})
    except (OSError, ValueError) as error:
        return _told(auth, error)
    return ""


def _told(auth: JwtAuth | OAuth2Auth, error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"key_file {auth.key_file} cannot be read: {error.strerror}"
    return f"{'key' if auth.key_file is None else f'key_file {auth.key_file}'}: {error}"


def _sign(auth: JwtAuth | OAuth2Auth, claims: dict[str, object]) -> str:
    return jwt(key_header(auth.key_id), claims, auth.algorithm, _loaded(auth))


def _loaded(auth: JwtAuth | OAuth2Auth) -> Sign:
    data = read_file(auth.key_file).strip() if auth.key_file is not None else _revealed(auth.key).encode()
    password = None if auth.key_password is None else auth.key_password.reveal().encode()
    encoded = isinstance(auth, JwtAuth) and auth.key_base64
    return load_key(auth.algorithm, data, password=password, encoded=encoded)


def _revealed(text: Text | None) -> str:
    return "" if text is None else text.reveal()


class Signer:
    """Signs JWTs with the key of a configuration, which is read once; `forget` has it read anew."""

    def __init__(self, auth: JwtAuth) -> None:
        self._auth = auth
        self._sign: Sign | None = None

    async def sign(self, claims: dict[str, object]) -> str | Failure:
        """Return a JWT, or why there is none."""
        auth = self._auth
        try:
            async with asyncio.timeout(_READING):
                if self._sign is None:
                    self._sign = await asyncio.to_thread(_loaded, auth)
                return await asyncio.to_thread(jwt, key_header(auth.key_id), claims, auth.algorithm, self._sign)
        except TimeoutError:
            return Failure(f"{auth.key_file} could not be read within {_READING:g} s", passing=True)
        except (OSError, ValueError) as error:
            return Failure(_told(auth, error), "check the key and the algorithm")

    def forget(self) -> bool:
        """Read the key again for the next JWT; return whether that can make any difference."""
        self._sign = None
        return self._auth.key_file is not None

"""Certificates with any dates, chains of them, and TLS servers that note what they are sent."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.patience import PATIENCE

HOST = "skewguard.test"
LIVING, DEAD, UNBORN = (-30, 30), (-90, -30), (30, 90)
"""From when to when a certificate is valid, days from now."""

REQUEST = b"GET / HTTP/1.1\r\n\r\n"
REPLY = b"HTTP/1.1 204 No Content\r\n\r\n"


class Certificate(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> str:
        return ssl.DER_cert_to_PEM_cert(self.der)


def issue(
    name: str,
    days: tuple[float, float] = LIVING,
    issuer: Certificate | None = None,
    *,
    authority: bool = False,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Certificate:
    """Issue a certificate for a host or, as an authority, for others; without an issuer it signs itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    first, last = (now + datetime.timedelta(days=each) for each in days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    signer = issuer.key if issuer else key
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    known = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(known, critical=False)
    if authority:
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    return Certificate(builder.sign(signer, hashes.SHA256()), key)


def element(tag: int, content: bytes) -> bytes:
    """Encode an element in DER."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(digits)]) + digits + content


def elements(data: bytes) -> list[bytes]:
    """Split the content of a sequence into its elements."""
    found = []
    while data:
        length, start = data[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[2:start], "big")
        found.append(data[: start + length])
        data = data[start + length :]
    return found


def content(data: bytes) -> bytes:
    """Return what is in an element."""
    return data[2 + (data[1] & 0x7F if data[1] & 0x80 else 0) :]


def redated(made: Certificate, dates: bytes, issuer: Certificate) -> Certificate:
    """Replace the content of a certificate's validity, and sign it again."""
    signed, algorithm, _ = elements(content(made.der))
    parts = elements(content(signed))
    parts[4] = element(0x30, dates)
    signed = element(0x30, b"".join(parts))
    signature = element(0x03, b"\0" + issuer.key.sign(signed, ec.ECDSA(hashes.SHA256())))
    der = element(0x30, signed + algorithm + signature)
    return Certificate(_Raw(der), made.key)  # type: ignore[arg-type]


class _Raw:
    """A certificate that cryptography might not read."""

    def __init__(self, der: bytes) -> None:
        self._der = der

    def public_bytes(self, _: object) -> bytes:
        return self._der


def client(*anchors: Certificate, check_hostname: bool = True) -> ssl.SSLContext:
    """Make a plain context that trusts these."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_hostname
    context.load_verify_locations(cadata="".join(each.pem for each in anchors))
    return context


def server(directory: Path, leaf: Certificate, *others: Certificate) -> ssl.SSLContext:
    """Make the context of a server that presents these."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = directory / f"{id(context)}.pem"
    key = leaf.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_text(key.decode() + "".join(each.pem for each in (leaf, *others)))
    context.load_cert_chain(path)
    return context


class Peer:
    """A TLS server on loopback.

    Attributes:
        heard: What it was sent over TLS.
        completed: How many handshakes it completed.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.heard = b""
        self.completed = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", int(self._listener.getsockname()[1]))

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        with connection, contextlib.suppress(OSError), self.context.wrap_socket(connection, server_side=True) as tls:
            self.completed += 1
            while some := tls.recv(1000):
                self.heard += some
                if self.heard.endswith(b"\r\n\r\n"):
                    tls.sendall(REPLY)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def serving(context: ssl.SSLContext) -> Iterator[Peer]:
    """Run a server until the block ends."""
    peer = Peer(context)
    try:
        yield peer
    finally:
        peer.close()


def request(context: ssl.SSLContext, peer: Peer, name: str = HOST, **options: Any) -> str:
    """Connect, send a request and read the reply; return OpenSSL's error, or nothing."""
    try:
        with (
            socket.create_connection(peer.address, PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=name, **options) as tls,
        ):
            tls.sendall(REQUEST)
            assert tls.recv(1000) == REPLY
    except ssl.SSLCertVerificationError as error:
        return f"{error.verify_code}"
    except ssl.SSLError as error:
        return str(error)
    return ""


def bios(context: ssl.SSLContext, other: ssl.SSLContext, name: str = HOST) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Connect a client and a server in memory, before the handshake."""
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    return context.wrap_bio(here, there, server_hostname=name), other.wrap_bio(there, here, server_side=True)


def shake(ours: Any, theirs: Any) -> None:
    """Complete a handshake in memory."""
    done = [False, False]
    for _ in range(20):
        for index, each in enumerate((ours, theirs)):
            if not done[index]:
                with contextlib.suppress(ssl.SSLWantReadError):
                    each.do_handshake()
                    done[index] = True
        if all(done):
            return
    raise AssertionError("the handshake does not end")


def accepts(context: ssl.SSLContext, other: ssl.SSLContext) -> bool:
    """Return whether a client accepts a server's certificate, in memory."""
    try:
        shake(*bios(context, other))
    except ssl.SSLCertVerificationError:
        return False
    return True

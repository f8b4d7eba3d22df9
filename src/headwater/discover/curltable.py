"""Owns the names of curl's options: which take an argument, and which say nothing of what is asked for. Tables."""

from __future__ import annotations

from typing import Final

from headwater.discover.vocabulary import words

# Options of curl that take an argument, by their short letters and what they are called in full.
SHORT_WITH_ARGUMENT: Final = "AbcCdDeEFhHKmoPQrtTuUwxXyYz"
LETTERS: Final = {
    "A": "user-agent", "b": "cookie", "c": "cookie-jar", "d": "data", "e": "referer", "E": "cert", "F": "form",
    "G": "get", "H": "header", "I": "head", "k": "insecure", "K": "config", "L": "location", "m": "max-time",
    "o": "output", "r": "range", "T": "upload-file", "u": "user", "U": "proxy-user", "x": "proxy", "X": "request",
    "0": "http1.0", "1": "tlsv1", "2": "sslv2", "3": "sslv3", "4": "ipv4", "6": "ipv6", "n": "netrc",
    "N": "no-buffer",
    "z": "time-cond", "C": "continue-at", "w": "write-out", "y": "speed-time", "Y": "speed-limit",
    "t": "telnet-option", "P": "ftp-port", "Q": "quote", "D": "dump-header", "h": "help",
}  # fmt: skip
WITH_ARGUMENT: Final = words(
    "abstract-unix-socket alt-svc aws-sigv4 cacert capath cert cert-type ciphers config connect-timeout "
    "connect-to continue-at cookie cookie-jar create-file-mode crlfile curves data data-ascii data-binary "
    "data-raw data-urlencode delegation dns-interface dns-ipv4-addr dns-ipv6-addr dns-servers doh-url dump-header "
    "ech egd-file engine etag-compare etag-save expect100-timeout form form-string ftp-account ftp-method "
    "ftp-port ftp-ssl-ccc-mode happy-eyeballs-timeout-ms haproxy-clientip header help hostpubmd5 hostpubsha256 "
    "hsts interface ipfs-gateway json keepalive-cnt keepalive-time key key-type krb libcurl limit-rate local-port "
    "login-options mail-auth mail-from mail-rcpt max-filesize max-redirs max-time netrc-file noproxy "
    "oauth2-bearer output output-dir parallel-max pass pinnedpubkey postquote preproxy proto proto-default "
    "proto-redir proxy proxy-cacert proxy-capath proxy-cert proxy-cert-type proxy-ciphers proxy-crlfile "
    "proxy-header proxy-key proxy-key-type proxy-pass proxy-pinnedpubkey proxy-service-name proxy-tls13-ciphers "
    "proxy-tlsauthtype proxy-tlspassword proxy-tlsuser proxy-user proxy1.0 pubkey quote random-file range rate "
    "referer request request-target resolve retry retry-delay retry-max-time sasl-authzid service-name socks4 "
    "socks4a socks5 socks5-gssapi-service socks5-hostname speed-limit speed-time stderr telnet-option "
    "tftp-blksize time-cond tls-max tls13-ciphers tlsauthtype tlspassword tlsuser trace trace-ascii trace-config "
    "unix-socket upload-file url url-query user user-agent variable vlan-priority write-out"
)
# What only says how curl is to show things, or what is done here anyway.
QUIET: Final = words(
    "silent show-error verbose include output remote-name remote-name-all progress-bar no-progress-meter fail "
    "fail-early fail-with-body write-out trace trace-ascii trace-time trace-ids trace-config dump-header stderr "
    "location compressed globoff path-as-is styled-output create-dirs output-dir remote-time "
    "remote-header-name parallel disable keepalive no-keepalive tcp-nodelay anyauth proto-default basic http1.1 "
    "get head next retry-connrefused retry-all-errors compressed-ssh alpn no-alpn npn no-npn sessionid "
    "no-sessionid ssl-no-revoke ssl-revoke-best-effort suppress-connect-headers url silent-errors retry-delay "
    "retry-max-time limit-rate cookie-jar junk-session-cookies location-trusted netrc-optional"
)
METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"})
BEFORE_CURL: Final = frozenset({"sudo", "time", "$", "%", "#", ">", "command", "exec", "env", "nohup", "watch"})

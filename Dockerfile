# Headwater as an image. The page's arguments run the local connector, any command of Headwater runs by its name:
#
#     docker run -v"$HOME/.fluvio/config:/home/fluvio/.fluvio/config" -t headwater -- --endpoint=URL --fluvio-topic=NAME
#     docker run headwater up --listen 0.0.0.0
#
# The base is any image of Debian 12 or newer, or of another Linux with glibc, that has Python 3.11 or apt to get it with.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
RUN python3 -m venv --help >/dev/null 2>&1 && python3 -c 'import ensurepip' \
    || { apt-get update && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates; }
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
COPY packaging/install.sh packaging/install.sh
RUN packaging/install.sh /build /opt/headwater

FROM ${BASE}
RUN command -v python3 >/dev/null \
    || { apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*; }
# The page mounts a profile into this user's home. Another one, given with --user because the profile is his, works as
# well. All but the data belongs to root, and may be read-only.
RUN groupadd --gid 1000 fluvio \
    && useradd --uid 1000 --gid 1000 --create-home --home-dir /home/fluvio --shell /usr/sbin/nologin fluvio \
    && install -d -o 1000 -g 1000 -m 0755 /home/fluvio /home/fluvio/.fluvio \
    && install -d -o 1000 -g 1000 -m 0777 /var/lib/headwater
COPY --from=build /opt/headwater /opt/headwater
ENV PATH=/opt/headwater/bin:$PATH \
    HOME=/home/fluvio \
    HEADWATER_DATA=/var/lib/headwater \
    PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
WORKDIR /home/fluvio
VOLUME /var/lib/headwater
# Of `headwater up`: profiles name the first.
EXPOSE 9003 9005
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 CMD ["headwater", "health"]
ENTRYPOINT ["/opt/headwater/bin/python3", "-P", "-m", "headwater.cli.container"]
LABEL org.opencontainers.image.title="headwater" \
      org.opencontainers.image.description="Any HTTP API becomes a durable stream of records" \
      org.opencontainers.image.licenses="Apache-2.0"

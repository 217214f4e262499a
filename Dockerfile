# docker build --target serve .   search, indexing and the server on a CPU, without torch
# docker build --target full .    the same with training and the torch runtime
#
# `full` stands last because the classic builder runs every stage above its target: `serve` must not download torch.
# Nothing here needs BuildKit.
ARG BASE=python:3.11-slim

FROM ${BASE} AS serve-builder
# pip takes these from its environment. They end with this stage, so no address or password reaches an image.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
ENV PIP_NO_CACHE_DIR=1
WORKDIR /src
# Only these two decide what is downloaded: a change of code does not install the dependencies anew.
COPY pyproject.toml constraints.txt ./
RUN python3 -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        open('serve.txt', 'w').write('\n'.join(p['dependencies'])); \
        open('train.txt', 'w').write('\n'.join(p['optional-dependencies']['train']))" \
    && python3 -m venv --without-pip /opt/lookalike \
    && python3 -m pip --python /opt/lookalike/bin/python3 install -c constraints.txt -r serve.txt

FROM serve-builder AS package
COPY LICENSE README.md ./
COPY index index
COPY lookalike lookalike
COPY model model
COPY service service
COPY training training
# A prefix of its own keeps our code in a small layer above that of the dependencies.
RUN python3 -m pip --python /opt/lookalike/bin/python3 install --no-deps --prefix /package .

FROM ${BASE} AS runtime
LABEL org.opencontainers.image.title="Lookalike" \
      org.opencontainers.image.description="Image search that learns from your own labels" \
      org.opencontainers.image.licenses="Apache-2.0"
# The root file system may be read-only and the user any number: what a library keeps at home goes to /tmp.
ENV PATH=/opt/lookalike/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LOOKALIKE_HOST=0.0.0.0 \
    LOOKALIKE_PORT=8000
USER 1000:1000
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"LOOKALIKE_PORT\"]}/livez', timeout=4)"]
ENTRYPOINT ["lookalike"]
CMD ["serve", "/collection"]

FROM runtime AS serve
COPY --from=serve-builder /opt/lookalike /opt/lookalike
COPY --from=package /package /opt/lookalike

FROM serve-builder AS full-builder
# where torch's CPU build lies; the ordinary index has the CUDA build
ARG TORCH_INDEX
RUN python3 -m pip --python /opt/lookalike/bin/python3 install -c constraints.txt -r serve.txt -r train.txt \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}

FROM runtime AS full
COPY --from=full-builder /opt/lookalike /opt/lookalike
COPY --from=package /package /opt/lookalike

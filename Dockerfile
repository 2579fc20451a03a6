# syntax=docker/dockerfile:1
# The service as an image. It was linted, not built, where this was written.
# TORCH_INDEX is the address of PyTorch's own index of CPU builds, or of its builds for your CUDA version; without it the
# image holds what pip takes by default, which is a CUDA build.
#   docker build --tag wsigraph --build-arg TORCH_INDEX=ADDRESS .
#   docker run --rm --volume "$PWD/slides:/slides" wsigraph predict /slides/slide.svs --out /slides/out
FROM node:22-bookworm-slim AS viewer
WORKDIR /viewer
# the viewer's JavaScript; the digest of the archive is checked when it is installed below
RUN npm pack openseadragon@6.1.1

FROM python:3.12-slim-bookworm AS build
ARG TORCH_INDEX=""
WORKDIR /source
RUN python -m venv /opt/wsigraph
ENV PATH="/opt/wsigraph/bin:$PATH" PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml constraints.txt hatch_build.py README.md LICENSE ./
RUN pip install --constraint constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY tests/data/CMU-1-Small-Region.svs ./tests/data/
COPY wsigraph ./wsigraph
RUN pip install --constraint constraints.txt '.[service,postgres]'
COPY --from=viewer /viewer/openseadragon-6.1.1.tgz /tmp/
RUN wsigraph viewer /tmp/openseadragon-6.1.1.tgz
# compiled kernels are warmed here, so that the first prediction does not wait for them
ENV NUMBA_CACHE_DIR=/cache MPLCONFIGDIR=/cache OMP_NUM_THREADS=1
WORKDIR /warm
RUN mkdir /cache && wsigraph sample && wsigraph predict CMU-1-Small-Region.svs --explain risk

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="wsigraph" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.description="Whole-slide images as graphs of tissue regions. Research use only."
RUN useradd --create-home --uid 10001 wsigraph \
    && install --directory --owner wsigraph --group wsigraph /slides
COPY --from=build /opt/wsigraph /opt/wsigraph
COPY --from=build --chown=10001:10001 /cache /cache
# one thread a process, as torch runs here
ENV PATH="/opt/wsigraph/bin:$PATH" NUMBA_CACHE_DIR=/cache MPLCONFIGDIR=/cache OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
USER 10001
WORKDIR /slides
VOLUME ["/slides", "/cache"]
EXPOSE 8008
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8008/v1/health', timeout=4)"]
ENTRYPOINT ["wsigraph"]
CMD ["doctor"]

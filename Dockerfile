# syntax=docker/dockerfile:1
# The service as an image. It was linted, not built, where this was written.
#   docker build --tag wsigraph .
#   docker run --rm --volume "$PWD/slides:/slides" wsigraph predict /slides/slide.svs --out /slides/out
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
RUN python -m venv /opt/wsigraph
ENV PATH="/opt/wsigraph/bin:$PATH" PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml constraints.txt hatch_build.py README.md LICENSE ./
COPY wsigraph ./wsigraph
RUN pip install --constraint constraints.txt '.[service,postgres]'

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="wsigraph" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.description="Whole-slide images as graphs of tissue regions. Research use only."
RUN useradd --create-home --uid 10001 wsigraph \
    && install --directory --owner wsigraph --group wsigraph /slides /cache
COPY --from=build /opt/wsigraph /opt/wsigraph
# compiled kernels are cached; one thread a process, as torch runs here
ENV PATH="/opt/wsigraph/bin:$PATH" NUMBA_CACHE_DIR=/cache MPLCONFIGDIR=/cache OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
USER 10001
WORKDIR /slides
VOLUME ["/slides", "/cache"]
EXPOSE 8008
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8008/v1/health', timeout=4)"]
ENTRYPOINT ["wsigraph"]
CMD ["doctor"]

# A worker, or any other command of pctstream. The versions are those of requirements.lock, each file
# compared with its hash.
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /src
COPY requirements-image.lock ./
RUN python -m venv /opt/pctstream \
 && /opt/pctstream/bin/pip install --no-cache-dir --require-hashes -r requirements-image.lock
COPY pyproject.toml hatch_build.py README.md LICENSE pctstream.example.toml ./
COPY topics topics
COPY pctstream pctstream
RUN /opt/pctstream/bin/pip install --no-cache-dir --no-build-isolation --no-deps .

FROM python:3.11.13-slim-bookworm
RUN useradd --uid 10001 --create-home pctstream \
 && install -d -o pctstream -g pctstream /data
COPY --from=build /opt/pctstream /opt/pctstream
# Numba keeps what it compiled beside the rows: the code belongs to root.
ENV PATH=/opt/pctstream/bin:$PATH PYTHONUNBUFFERED=1 PCT_STORE__DIR=/data NUMBA_CACHE_DIR=/data/numba
USER pctstream
ENTRYPOINT ["pctstream"]
CMD ["--help"]

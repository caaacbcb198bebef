# The web page in a container: CPU only, without PyTorch, without root, without a shell for the user.
#
#     docker build -t leukocls .
#     docker run --rm -p 8000:8000 --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges -v /path/to/bundle:/bundle:ro -e LEUKOCLS_TOKEN=at-least-sixteen-letters leukocls
#
# Without LEUKOCLS_TOKEN one is made and printed: see `docker logs`. Put a proxy with TLS in front, or mount a certificate and add --cert and --key.
FROM python:3.12-slim
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LEUKOCLS_CACHE=off MPLCONFIGDIR=/tmp
WORKDIR /usr/src/leukocls
COPY . .
RUN pip install ".[serve,app]"
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin leukocls
WORKDIR /
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["leukocls", "serve"]
CMD ["/bundle", "--host", "0.0.0.0", "--port", "8000", "--no-open"]

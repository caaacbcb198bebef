# A machine of a Ray cluster: head or worker, see compose.yaml beside this file.
FROM python:3.12-slim
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0
WORKDIR /usr/src/leukocls
COPY . .
RUN pip install ".[train,export,cluster]"
RUN useradd --uid 10001 --create-home leukocls
WORKDIR /home/leukocls
USER 10001

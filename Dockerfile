# The labs for a class: JupyterLab, the CPU-only build of PyTorch, and a user without rights.
#
#   docker build --tag labkit .
#   docker run --rm --publish 8888:8888 labkit
#
# and open the address that it prints. To keep what is written into the labs, name a volume for them:
# --volume labs:/home/student/labs

FROM python:3.12-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

RUN useradd --create-home --uid 1000 student

# Large and seldom changed, so in a layer of its own. Both packages in one command.
RUN pip install --index-url https://download.pytorch.org/whl/cpu torch torchvision

COPY pyproject.toml README.md LICENSE /source/
COPY labkit /source/labkit
RUN pip install "/source[labs]" && rm -r /source

COPY --chown=student:student labs /home/student/labs
USER student
WORKDIR /home/student
RUN python -c "import matplotlib.pyplot"

EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--LabApp.default_url=/lab/tree/labs"]

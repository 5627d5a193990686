# The studio on port 7860: docker build -t detdiffusion . && docker run --rm -p 127.0.0.1:7860:7860 detdiffusion
# Keep what it makes: -v "$PWD/workspace:/studio/workspace". Let others in only with -e DETDIFFUSION_AUTH=NAME:PASSWORD.
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 && rm -rf /var/lib/apt/lists/*
WORKDIR /studio
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY LICENSE NOTICE README.md ./
COPY assets assets
COPY detdiffusion detdiffusion
COPY training training
COPY app app
EXPOSE 7860
CMD ["python", "-m", "app", "--host", "0.0.0.0"]

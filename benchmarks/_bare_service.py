"""The peer of `gateway.py`: one FastAPI route that returns a dict, under uvicorn as it comes. Arguments: port, body."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.get("/v1/jobs/{job_id}")
async def get_job(job_id: str) -> dict[str, Any]:
    return BODY


if __name__ == "__main__":
    BODY: dict[str, Any] = json.loads(Path(sys.argv[2]).read_text())
    uvicorn.run(app, port=int(sys.argv[1]))

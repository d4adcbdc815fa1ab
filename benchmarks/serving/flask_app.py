"""The service of textbooks: Flask and joblib.

python -m benchmarks.serving.flask_app RELEASE PORT
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from flask import Flask, Response, jsonify, request

from benchmarks.serving.fitted import Fitted


def make_app(release: str) -> Flask:
    """Return the WSGI application."""
    app, fitted = Flask(__name__), Fitted(Path(release))

    @app.post("/predict")
    def predict() -> Response:
        return jsonify(probability=float(fitted.predict(pd.DataFrame([request.get_json()]))[0]))

    return app


if __name__ == "__main__":
    make_app(sys.argv[1]).run(port=int(sys.argv[2]), threaded=True)

"""onnxruntime without its telemetry, which nothing that runs here may send, least of all beside a controller.

Unless it is told so before it is loaded, 1.32 leaves a file `.ses` in the temporary folder and looks for
mobile.events.data.microsoft.com.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["onnxruntime"]

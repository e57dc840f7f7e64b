"""Put the manifest, which lies at the repository root, inside the package."""

import os
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManifestHook(BuildHookInterface):
    """Wheel: include the file. Editable install: link it (copy where links are not allowed)."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        manifest = Path(self.root, "napari.yaml")
        if version != "editable":
            build_data["force_include"][str(manifest)] = "napari_flex3d/napari.yaml"
            return
        link = Path(self.root, "src", "napari_flex3d", "napari.yaml")
        link.unlink(missing_ok=True)
        try:
            link.symlink_to(os.path.relpath(manifest, link.parent))
        except OSError:  # Windows without developer mode
            shutil.copyfile(manifest, link)

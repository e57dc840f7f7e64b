"""The jobs of a project folder, and those that were opened from elsewhere."""

from dataclasses import dataclass
from pathlib import Path

from napari_flex3d.io.errors import InputError
from napari_flex3d.jobs import Job, read_job


@dataclass(frozen=True)
class Entry:
    """A job of the list.

    Parameters
    ----------
    folder
        Its folder.
    job
        The job, or None where it cannot be read.
    problem
        Why it cannot be read, in words.
    """

    folder: Path
    job: Job | None
    problem: str = ""


class Project:
    """A folder that new jobs are put into, and the jobs that are known.

    Parameters
    ----------
    folder
        The folder; it is made with its first job.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: list[Path] = []

    def add(self, folder: Path) -> None:
        """Know a job that may lie elsewhere."""
        if folder not in self._opened:
            self._opened.insert(0, folder)

    def entries(self) -> list[Entry]:
        """All known jobs, newest first; a folder whose ``job.json`` cannot be read is among them with the reason."""
        found = [path.parent for path in self.folder.glob("*/job.json")] if self.folder.is_dir() else []
        entries = []
        for folder in dict.fromkeys([*self._opened, *found]):
            try:
                entries.append(Entry(folder, read_job(folder)))
            except InputError as error:
                if (folder / "job.json").exists():  # else it was deleted
                    entries.append(Entry(folder, None, str(error)))
        return sorted(entries, key=lambda entry: -_changed(entry.folder))

    def jobs(self, stage: str) -> list[Path]:
        """Folders of the jobs of a stage, newest first."""
        return [e.folder for e in self.entries() if e.job is not None and e.job.stage == stage]

    def new_folder(self, stage: str) -> Path:
        """Name of the next job's folder, such as ``J3-train``."""
        names = [p.name for p in self.folder.glob("J*-*")] if self.folder.is_dir() else []
        numbers = [name[1:].split("-")[0] for name in names]
        highest = max((int(n) for n in numbers if n.isdigit()), default=0)
        return self.folder / f"J{highest + 1}-{stage}"


def _changed(folder: Path) -> float:
    try:
        return (folder / "job.json").stat().st_mtime
    except OSError:
        return 0.0

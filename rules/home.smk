"""Where this workflow's code lies: beside this file, or, for a workflow used from a repository, unpacked from its commit."""

import sys
import tarfile
import tempfile
from pathlib import Path

from snakemake.sourcecache import LocalSourceFile


def unpacked(source):
    """The files of the commit that a rule file of a git repository comes from, in a folder that its jobs find too."""
    import git

    hosted = getattr(source, "hosted_repo", None)
    repository = hosted.repo if hosted else git.Repo(source.repo_path)
    folder = Path(".histogenesis/code", repository.commit(source.ref).hexsha).absolute()
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as new, tempfile.TemporaryFile() as archive:
            repository.archive(archive, treeish=folder.name)
            archive.seek(0)
            tarfile.open(fileobj=archive).extractall(Path(new, "code"), filter="data")
            try:
                Path(new, "code").rename(folder)
            except OSError:  # another process was faster
                assert folder.exists()
    return folder


HERE = workflow.current_basedir
HOME = Path(HERE.path).parent if isinstance(HERE, LocalSourceFile) else unpacked(HERE)
sys.path.insert(0, str(HOME / "src"))

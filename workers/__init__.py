"""Celery workers: control workers plan and finalize, model workers compute on the device they are pinned to."""

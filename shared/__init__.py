"""The contract between the services: the event, the regions, the HTTP surface, the metrics. Nothing else."""

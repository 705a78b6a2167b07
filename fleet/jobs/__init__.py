"""Programs that run beside the services: topics, disks, health checks."""

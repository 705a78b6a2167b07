"""What every service process needs: settings, logs, a server, probes, spans, metrics, clients."""

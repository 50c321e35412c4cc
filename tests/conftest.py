from hypothesis import HealthCheck, settings

# the suite runs beside others on shared cores: how long drawing an example takes says nothing about the code
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

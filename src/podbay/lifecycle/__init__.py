"""The life of one pod: what should happen next (pure), and the engine that lets it happen.

    plan         what is to be run, and how patient to be
    diagnosis/   pod, events, nodes -> why it does not go on, whose fault, whether waiting helps (pure)
    outcome      how it ended: typed, versioned, serialisable
    machine      (state, event) -> (state, actions) (pure)
    engine       one pod's run on a leased cluster: carries out the actions, brings the events

Knows neither Airflow nor the command line; they drive it (design D4).
"""

"""Simulated meters that speak real DLMS/COSEM over TCP, as a process of its own.

`load`, `contact` and `meter` are the truth of one meter; `objects`, `device` and `concentrator` are
what it shows on the wire, bent by `faults`; `control` tells the truth on a separate socket. `fleet`
describes what is simulated, `business_time` is the meters' clock, `journal` what survives a kill,
`launch` starts the whole from another process. Nothing here is imported by the head-end's services.
"""

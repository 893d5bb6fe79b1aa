"""What coarse-to-fine labels teach 3D networks about knee osteoarthritis.

Modules, from the ground up (each imports only from those before it):

``errors``, ``hierarchy``, ``profile``, ``provenance``; ``cohort``, ``check``,
``volumes``, ``cache``; ``readers``, ``grades``, ``subjects``; ``bones``, ``anatomy``, ``dess``,
``knee``, ``phantom``; ``resnet3d``, ``model``, ``train``, ``runs``; ``predictions``,
``metrics``, ``compare``, ``published``, ``fetch``, ``references``; ``morphometry``, ``facts``,
``baseline``; ``figures``, ``display``.
"""

__version__ = "0.1.0"

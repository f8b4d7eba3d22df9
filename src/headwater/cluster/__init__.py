"""Owns our client of Fluvio clusters: any cluster's topics from asyncio, through the codec that our server has too."""

from headwater.cluster.cluster import Cluster, ClusterTopic
from headwater.cluster.consumer import BatchStream
from headwater.cluster.producer import Producer
from headwater.cluster.target import Target

__all__ = ["BatchStream", "Cluster", "ClusterTopic", "Producer", "Target"]

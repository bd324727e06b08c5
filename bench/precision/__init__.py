"""Precisions inside a worker: conversion of classifiers, loading of language models, and their stored tensors."""

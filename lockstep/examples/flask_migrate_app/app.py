import os

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
db = SQLAlchemy(app)
Migrate(app, db, compare_type=True)


class Person(db.Model):
    __tablename__ = "people"
    id = db.Column(db.BigInteger, primary_key=True)
    name = db.Column(db.Text)
